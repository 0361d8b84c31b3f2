/** What states runs and their models can be in, in words and signs: never by colour alone. */

import { Ban, Check, CircleDashed, LoaderCircle, SkipForward, X } from "lucide-react"
import type { Schemas } from "../api/client"
import { Badge, type Tone } from "../ui/surface"
import css from "./states.module.css"

interface Sign {
  label: string
  tone: Tone
  icon: typeof Check
}

const RUN: Record<Schemas["TaskStatus"], Sign> = {
  queued: { label: "Queued", tone: "plain", icon: CircleDashed },
  running: { label: "Running", tone: "accent", icon: LoaderCircle },
  completed: { label: "Completed", tone: "good", icon: Check },
  failed: { label: "Failed", tone: "bad", icon: X },
  cancelled: { label: "Cancelled", tone: "warn", icon: Ban },
}

const CANDIDATE: Record<Schemas["CandidateStatus"], Sign> = {
  queued: { label: "Waiting", tone: "plain", icon: CircleDashed },
  running: { label: "Training", tone: "accent", icon: LoaderCircle },
  done: { label: "Done", tone: "good", icon: Check },
  failed: { label: "Failed", tone: "bad", icon: X },
  skipped: { label: "Left out", tone: "plain", icon: SkipForward },
}

export function RunState({ status }: { status: Schemas["TaskStatus"] }) {
  return <State {...RUN[status]} />
}

export function CandidateState({ status }: { status: Schemas["CandidateStatus"] }) {
  return <State {...CANDIDATE[status]} />
}

function State({ label, tone, icon: Icon }: Sign) {
  return (
    <Badge tone={tone}>
      <Icon size={14} aria-hidden="true" {...(Icon === LoaderCircle && { className: css.turning })} />
      {label}
    </Badge>
  )
}
