/** A model in another format: waited for while it is made, with what opening it needs, or why there is none. */

import { useQuery } from "@tanstack/react-query"
import { Download } from "lucide-react"
import type { Schemas } from "../api/client"
import { modelPath } from "../api/download"
import { ApiError } from "../api/problem"
import { bytes, count, score, sentence, share } from "../format"
import { Button } from "../ui/button"
import { Dialog, DialogActions } from "../ui/dialog"
import { DownloadButton } from "../ui/download-button"
import { Failed, Loading, Note } from "../ui/surface"
import css from "./format-dialog.module.css"
import { converted, NotMade } from "./made"

type Conversion = Schemas["Conversion"]

const TITLES: Record<Schemas["ConversionFormat"], string> = { skops: ".skops", onnx: "ONNX" }

const ABOUT: Record<Schemas["ConversionFormat"], string> = {
  skops: "The same model for skops.io.load, which makes only objects of types that it is told to trust.",
  onnx: "The same model as a graph for ONNX Runtime, which needs no scikit-learn, nor Python.",
}

interface FormatDialogProps {
  taskId: string
  /** As it is asked for: a slug, or `best_model`. */
  modelName: string
  label: string
  format: Schemas["ConversionFormat"]
  close: () => void
}

export function FormatDialog({ taskId, modelName, label, format, close }: FormatDialogProps) {
  const made = useQuery({
    queryKey: ["conversion", taskId, modelName, format],
    queryFn: async () => {
      let last: Conversion | undefined
      for await (const now of converted(taskId, modelName, format)) last = now
      return last ?? null
    },
    staleTime: Number.POSITIVE_INFINITY,
    retry: false, // each is another try of the converter
  })
  return (
    <Dialog open onOpenChange={close} title={`${label} as ${TITLES[format]}`} about={ABOUT[format]}>
      {made.data ? (
        <Opening conversion={made.data} filename={`${modelName}_${taskId}.${format}`} />
      ) : made.error instanceof NotMade || isRefusal(made.error) ? (
        <div role="alert">
          <Note tone="warn">{sentence(made.error.message)}</Note>
        </div>
      ) : made.isError ? (
        <Failed error={made.error} retry={() => made.refetch()} />
      ) : (
        <Loading what="The model is being converted, which takes some seconds" />
      )}
      <p className="visually-hidden" role="status">
        {made.data && "The file is there."}
      </p>
      <DialogActions>
        <Button onClick={close}>Close</Button>
        {made.data && (
          <DownloadButton path={`${modelPath(taskId, modelName)}?format=${format}`} look="primary">
            <Download size={16} aria-hidden="true" />
            Download ({bytes(made.data.size_bytes)})
          </DownloadButton>
        )}
      </DialogActions>
    </Dialog>
  )
}

/** Known before anything is tried: some models have no form in a format. */
function isRefusal(error: Error | null): error is ApiError {
  return error instanceof ApiError && error.status === 422
}

function Opening({ conversion, filename }: { conversion: Conversion; filename: string }) {
  const { types, onnx, requires } = conversion
  return (
    <div className={css.opening}>
      {onnx && <p>{parity(onnx.parity)}</p>}
      <Code title="Needs">{`pip install ${requires?.join(" ") ?? ""}`}</Code>
      <Code title="Opens with">{onnx ? runsGraph(filename, onnx) : loads(filename, types ?? [])}</Code>
    </div>
  )
}

function parity({ rows, compared, max_abs_difference, equal_labels }: Schemas["Parity"]): string {
  const labels = equal_labels === undefined ? "" : `, and ${share(equal_labels)} of its labels are the same`
  return `On ${count(rows)} held-out rows its ${compared} are within ${score(max_abs_difference)} of the pickle's${labels}.`
}

/** Whoever opens it reads the list first: that is what the format is for. */
function loads(filename: string, types: string[]): string {
  const trusted = types.map((type) => `    ${JSON.stringify(type)},\n`).join("")
  return `import skops.io

trusted = [
${trusted}]
model = skops.io.load(${JSON.stringify(filename)}, trusted=trusted)`
}

function runsGraph(filename: string, { inputs, outputs }: Schemas["OnnxFacts"]): string {
  const shaped = (tensors: Schemas["OnnxTensor"][]) =>
    tensors.map(
      ({ name, type, shape }) => `#   ${name}: ${type} [${shape.map((n) => n ?? "rows").join(", ")}]`,
    )
  return ["import onnxruntime", "", `session = onnxruntime.InferenceSession(${JSON.stringify(filename)})`]
    .concat(
      "# in, cleaned as trainyard.inputs of its metadata says:",
      shaped(inputs),
      "# out:",
      shaped(outputs),
    )
    .join("\n")
}

function Code({ title, children }: { title: string; children: string }) {
  return (
    <figure>
      <figcaption>{title}</figcaption>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls is scrolled with the keyboard, too */}
      <pre className={css.code} tabIndex={0}>
        <code>{children}</code>
      </pre>
    </figure>
  )
}
