import { Link } from "@tanstack/react-router"
import { CircleAlert, CircleCheck, RotateCw, X } from "lucide-react"
import { bytes, share } from "../format"
import { Button, buttonClass } from "../ui/button"
import { Bar } from "../ui/surface"
import css from "./upload-area.module.css"
import { dropUpload, isOver, retryUpload, type Upload } from "./uploads"

export function UploadRow({ upload }: { upload: Upload }) {
  const { key, name, size, state } = upload
  const going = !isOver(upload)
  return (
    <li className={css.row} data-row tabIndex={-1} data-state={state}>
      <div className={css.what}>
        {state === "stored" && <CircleCheck size={18} className={css.good} aria-hidden="true" />}
        {state === "refused" && <CircleAlert size={18} className={css.bad} aria-hidden="true" />}
        <span className={css.name} title={name}>
          {name}
        </span>
        <span className={css.size}>{bytes(size)}</span>
      </div>
      <div className={css.actions}>
        {upload.stored && (
          <Link
            to="/dashboard/blueprints/files/$fileId"
            params={{ fileId: upload.stored.file_id }}
            className={buttonClass({ look: "quiet", small: true })}
          >
            Open<span className="visually-hidden"> {name}</span>
          </Link>
        )}
        {state === "refused" && upload.retry && (
          <Button look="quiet" small onClick={() => retryUpload(key)}>
            <RotateCw size={16} aria-hidden="true" />
            Try again
          </Button>
        )}
        <Button
          look="quiet"
          small
          icon
          aria-label={going ? `Stop uploading ${name}` : `Dismiss ${name}`}
          onClick={() => dropUpload(key)}
        >
          <X size={18} aria-hidden="true" />
        </Button>
      </div>
      <div className={css.how}>
        {going && <Bar value={upload.share} label={`Upload of ${name}`} />}
        {/* Told once at each turn, not at every percent. */}
        <p className={state === "stored" ? "visually-hidden" : css.hint} role="status">
          {words(upload)}
          {state === "sending" && <span aria-hidden="true"> {share(upload.share)}</span>}
        </p>
      </div>
    </li>
  )
}

function words({ name, state, share, error }: Upload): string {
  if (state === "waiting") return "Waits for the ones before it"
  if (state === "stored") return `${name} is uploaded`
  if (state === "refused") return error ?? "It was refused"
  return share < 1 ? "Uploading" : "Being stored"
}
