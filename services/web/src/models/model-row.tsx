/** One saved model. */

import { Link } from "@tanstack/react-router"
import { Download, Link as LinkIcon, Pencil, RotateCcw, Trash2 } from "lucide-react"
import { useState } from "react"
import type { Schemas } from "../api/client"
import { savedModelPath } from "../api/download"
import { bytes, count, score } from "../format"
import { METRICS, metricLabel, TASK_TYPES } from "../metrics"
import { Button } from "../ui/button"
import { DownloadButton } from "../ui/download-button"
import { Badge } from "../ui/surface"
import { When } from "../ui/when"
import { useDeleteModel, useRestoreModel } from "./changes"
import { EditModelDialog } from "./edit-model-dialog"
import { LinkDialog } from "./link-dialog"
import css from "./model-row.module.css"

type Model = Schemas["Model"]

interface ModelRowProps {
  model: Model
  /** Narrows the list to a tag. */
  onTag: (tag: string) => void
}

export function ModelRow({ model, onTag }: ModelRowProps) {
  return (
    <li className={css.row} data-row tabIndex={-1}>
      <div className={css.what}>
        <h2 className={css.name}>{model.model_name}</h2>
        <p className={css.facts}>
          <Badge tone="accent">{TASK_TYPES[model.task_type]}</Badge>
          {model.status === "saving" && <Badge>Uploading…</Badge>}
          {model.status === "failed" && <Badge tone="bad">Not stored: save it again</Badge>}
          <span>{model.algorithm}</span>
          <Link to="/dashboard/blueprints/tasks/$taskId" params={{ taskId: model.task_id }}>
            Its run<span className="visually-hidden">: {model.model_name}</span>
          </Link>
        </p>
        {model.description && (
          <p className={css.description} title={model.description}>
            {model.description}
          </p>
        )}
        {model.tags.length > 0 && (
          <ul className={css.tags}>
            {model.tags.map((tag) => (
              <li key={tag}>
                <button type="button" title={`Only models tagged ${tag}`} onClick={() => onTag(tag)}>
                  {tag}
                </button>
              </li>
            ))}
          </ul>
        )}
      </div>
      <Facts model={model} />
      <div className={css.actions}>
        {model.deleted ? <Restore model={model} /> : <Actions model={model} />}
      </div>
    </li>
  )
}

function Facts({ model }: { model: Model }) {
  const metrics = model.metrics as Record<string, number | null>
  const headline = METRICS[model.task_type][0]?.name ?? ""
  return (
    <dl className={css.figures}>
      <div>
        <dt>{metricLabel(headline)}</dt>
        <dd className="number" title="On held-out rows">
          {score(metrics[headline])}
        </dd>
      </div>
      <div>
        <dt>Size</dt>
        <dd className="number">{bytes(model.file_size)}</dd>
      </div>
      <div>
        <dt>Downloads</dt>
        <dd className="number">{count(model.links_issued + model.transfers)}</dd>
      </div>
      <div>
        <dt>{model.deleted ? "Deleted" : "Saved"}</dt>
        <dd>
          <When time={model.deleted ? model.updated_at : model.created_at} />
        </dd>
      </div>
    </dl>
  )
}

function Actions({ model }: { model: Model }) {
  const [open, setOpen] = useState<"edit" | "link">()
  const deleting = useDeleteModel()
  const ready = model.status === "ready"
  const { model_name: name } = model
  return (
    <>
      <DownloadButton path={savedModelPath(model.id)} small disabled={!ready} aria-label={`Download ${name}`}>
        <Download size={16} aria-hidden="true" />
        Download
      </DownloadButton>
      <Button
        look="quiet"
        small
        icon
        disabled={!ready}
        aria-label={`Link to ${name}`}
        title="Link"
        onClick={() => setOpen("link")}
      >
        <LinkIcon size={16} aria-hidden="true" />
      </Button>
      <Button
        look="quiet"
        small
        icon
        aria-label={`Edit ${name}`}
        title="Edit"
        onClick={() => setOpen("edit")}
      >
        <Pencil size={16} aria-hidden="true" />
      </Button>
      <Button
        look="quiet"
        small
        icon
        busy={deleting.isPending}
        aria-label={`Delete ${name}`}
        title="Delete"
        onClick={() => deleting.mutate(model)}
      >
        {!deleting.isPending && <Trash2 size={16} aria-hidden="true" />}
      </Button>
      <EditModelDialog
        model={model}
        open={open === "edit"}
        onOpenChange={(to) => setOpen(to ? "edit" : undefined)}
      />
      <LinkDialog
        model={model}
        open={open === "link"}
        onOpenChange={(to) => setOpen(to ? "link" : undefined)}
      />
    </>
  )
}

function Restore({ model }: { model: Model }) {
  const restoring = useRestoreModel()
  return (
    <Button
      small
      busy={restoring.isPending}
      aria-label={`Restore ${model.model_name}`}
      onClick={() => restoring.mutate(model)}
    >
      {!restoring.isPending && <RotateCcw size={16} aria-hidden="true" />}
      Restore
    </Button>
  )
}
