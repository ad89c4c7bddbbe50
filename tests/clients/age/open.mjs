// Opens an age file with the TypeScript implementation: `open.mjs FILE IDENTITY-FILE` prints the plaintext in hex.
// Without arguments it makes a post-quantum identity, and prints it with its recipient.

import { readFileSync } from "node:fs";
import { Decrypter, generateHybridIdentity, identityToRecipient } from "age-encryption";

const [file, identities] = process.argv.slice(2);
if (file === undefined) {
  const identity = await generateHybridIdentity();
  console.log(`# public key: ${await identityToRecipient(identity)}\n${identity}`);
} else {
  const decrypter = new Decrypter();
  for (const line of readFileSync(identities, "utf8").split("\n")) {
    if (line !== "" && !line.startsWith("#")) decrypter.addIdentity(line.trim());
  }
  const plain = await decrypter.decrypt(readFileSync(file), "uint8array");
  console.log(Buffer.from(plain).toString("hex"));
}
