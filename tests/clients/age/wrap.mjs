// Wraps the file key 07 07 … to a recipient with the TypeScript implementation, and prints the stanza as JSON.

import { Encrypter } from "age-encryption";

const encrypter = new Encrypter();
encrypter.addRecipient(process.argv[2]);
const [recipient] = encrypter.recipients;
const [stanza] = await recipient.wrapFileKey(new Uint8Array(16).fill(7));
const [kind, ...words] = stanza.args;
const body = Buffer.from(stanza.body).toString("base64").replaceAll("=", "");
console.log(JSON.stringify({ kind, arguments: words, body }));
