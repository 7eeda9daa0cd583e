//! A client of Posthouse's streaming door.
//!
//! A [`Client`] knows the nodes of a cluster and one access key. A [`Publisher`] takes messages and gives a [`Receipt`] for
//! each, which resolves once the message is durable; many are in flight, and those that wait together travel together. A
//! [`Consumer`] hands out messages of a queue, of which so many are asked for in advance, and settles them.
//!
//! Both connect by themselves, to whichever node is there, go on to the one that leads what they use when they are told of
//! it, and connect again when a connection is lost. What was published and not answered is sent again under the token that it
//! was sent with first, so that it is stored once. What was consumed stays leased, and can be settled over any connection.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use posthouse_client::{Client, Key, Target, Window};
//!
//! let key = Key::new("AKIDdev", "dev");
//! let client = Client::new(&["http://127.0.0.1:7270"], key)?;
//! let publisher = client.publisher();
//! let receipt = publisher.publish(&Target::queue("letters"), "hello").await?;
//! println!("stored as message {}", receipt.await?);
//!
//! let mut consumer = client.consumer("letters", Window::default());
//! let letter = consumer.next().await?;
//! consumer.ack(letter.handle).await?.await?;
//! # Ok(())
//! # }
//! ```

mod client;
mod consumer;
mod error;
mod exchange;
mod link;
mod pending;
mod publisher;

pub use client::{Client, Key};
pub use consumer::{Consumer, Settlement, Window};
pub use error::{ConfigError, ConsumeError, PublishError, SettleError};
pub use posthouse_stream::Delivery;
pub use publisher::{Publisher, Receipt, Target};
