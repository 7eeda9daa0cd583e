//! Publishes letters and consumes them: `cargo run -p posthouse-client --example letters`, with `posthouse serve --dev` running
//! and a queue made by `posthouse queue create letters`.

use posthouse_client::{Client, Key, Target, Window};

const LETTERS: usize = 1_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = std::env::var("POSTHOUSE_STREAMS").unwrap_or("http://127.0.0.1:7270".to_owned());
    let client = Client::new(&[node], Key::new("AKIDdev", "dev"))?;

    let publisher = client.publisher();
    let letters = Target::queue("letters");
    let mut receipts = Vec::new();
    for number in 0..LETTERS {
        receipts.push(publisher.publish(&letters, format!("letter {number}")).await?);
    }
    for receipt in receipts {
        receipt.await?;
    }
    println!("{LETTERS} letters are durable");

    let mut consumer = client.consumer("letters", Window::default());
    let mut settlements = Vec::new();
    for _ in 0..LETTERS {
        let letter = consumer.next().await?;
        settlements.push(consumer.ack(letter.handle).await?);
    }
    for settlement in settlements {
        settlement.await?;
    }
    println!("{LETTERS} letters were read and deleted");
    Ok(())
}
