// A filter: keeps out what carries a tag, and takes the blanks around a body away.
//
// The tag is the binding's configuration (`posthouse plugin bind --config draft`); it is `test` when none is given.
// What is thrown is a failure of the plugin: the binding's failure policy decides what becomes of the message.
import { get as configuration } from 'posthouse:plugin/config@0.1.0';
import { write as log } from 'posthouse:plugin/log@0.1.0';

const decoder = new TextDecoder();
const encoder = new TextEncoder();

export const filtering = {
  filter(envelope, body) {
    const unwanted = configuration() || 'test';
    if (envelope.tags.includes(unwanted)) {
      log('info', `${envelope.id} is tagged ${unwanted}`);
      return { tag: 'drop' };
    }
    const text = decoder.decode(body.read(0, body.len()));
    const trimmed = text.trim();
    // No body may be empty: one that is nothing but blanks keeps them.
    if (trimmed === text || trimmed === '') return { tag: 'pass' };
    return { tag: 'replace', val: { body: encoder.encode(trimmed), attributes: envelope.attributes } };
  },
};
