// A router: a message reaches the subscriptions that ask for one of its tags, and those that ask for none.
//
// The table is made once for a topic's subscriptions and then answers batches, so it is an index: what a message
// costs grows with what it reaches, not with the number of subscriptions.

class Table {
  constructor(filterType, subscriptions) {
    this.byTag = new Map();
    this.ofEverything = [];
    subscriptions.forEach(({ filterTags }, position) => {
      if (filterTags.length === 0) this.ofEverything.push(position);
      for (const tag of filterTags) {
        if (!this.byTag.has(tag)) this.byTag.set(tag, []);
        this.byTag.get(tag).push(position);
      }
    });
  }

  match(batch) {
    return batch.map(({ tags }) => {
      const reached = new Set(this.ofEverything);
      for (const tag of tags) for (const position of this.byTag.get(tag) ?? []) reached.add(position);
      return new Uint32Array(reached);
    });
  }
}

export const router = { Table };
