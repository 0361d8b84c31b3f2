/** Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html) out of a `fetch`.
 *
 * Not by `EventSource`: that keeps to itself the comments which an API sends while nothing happens, and so
 * cannot tell a quiet connection from a dead one. It sends no token either.
 */

export interface ServerEvent {
  name: string
  data: string
}

/** One after another, until the stream ends. `heard` is called for all that comes, comments too. */
export async function* eventsOf(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  heard: () => void,
): AsyncGenerator<ServerEvent> {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ""
  let name = ""
  let data: string[] = []
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    heard()
    // A carriage return at the end may be the first half of a line's end.
    const lines = (rest + value).split(/\r\n|\n|\r(?!$)/)
    rest = lines.pop() ?? ""
    for (const line of lines) {
      const [, field, text = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? []
      if (field === "event") name = text
      else if (field === "data") data.push(text)
      else if (line === "") {
        if (data.length) yield { name, data: data.join("\n") }
        name = ""
        data = []
      }
    }
  }
}
