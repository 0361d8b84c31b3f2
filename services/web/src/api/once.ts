/** A new `Idempotency-Key`. Not by `crypto.randomUUID`, which browsers have only over https and on localhost. */
export function onceKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("")
}
