/** What things stand on, and what stands there while there is nothing to show. */

import { CircleAlert, CloudOff, Info, TriangleAlert } from "lucide-react"
import { Progress } from "radix-ui"
import { type ComponentProps, type ReactNode, useId } from "react"
import { ApiError, Unreachable } from "../api/problem"
import { share } from "../format"
import { Button } from "./button"
import css from "./surface.module.css"

interface CardProps extends Omit<ComponentProps<"section">, "title" | "about"> {
  title?: ReactNode
  about?: ReactNode
  actions?: ReactNode
}

export function Card({ title, about, actions, children, className, ...rest }: CardProps) {
  const id = useId()
  return (
    <section
      {...rest}
      {...(title ? { "aria-labelledby": id } : {})}
      className={[css.card, className].filter(Boolean).join(" ")}
    >
      {title && (
        <header className={css.head}>
          <div>
            <h2 id={id}>{title}</h2>
            {about && <p className={css.about}>{about}</p>}
          </div>
          {actions}
        </header>
      )}
      {children}
    </section>
  )
}

export type Tone = "plain" | "good" | "warn" | "bad" | "accent"

export function Badge({ tone = "plain", children }: { tone?: Tone; children: ReactNode }) {
  return (
    <span className={[css.badge, tone !== "plain" && css[tone]].filter(Boolean).join(" ")}>{children}</span>
  )
}

interface StateProps {
  icon?: ReactNode
  title: string
  children?: ReactNode
  action?: ReactNode
}

/** A place where there is nothing, or nothing yet: what it is, and what to do next. */
export function State({ icon, title, children, action }: StateProps) {
  return (
    <div className={css.state}>
      {icon}
      <h2>{title}</h2>
      {children && <p>{children}</p>}
      {action}
    </div>
  )
}

/** Something that was asked for did not come: why, and another try where one may help. */
export function Failed({ error, retry }: { error: unknown; retry?: () => void }) {
  if (error instanceof ApiError && error.status === 404) {
    return (
      <State title={error.message}>It was deleted, or it is somebody else's, or the link is wrong.</State>
    )
  }
  const away = error instanceof Unreachable || (error instanceof ApiError && error.status === 503)
  return (
    <div role="alert">
      <State
        icon={away ? <CloudOff size={32} /> : <CircleAlert size={32} />}
        title={away ? "Trainyard cannot be reached" : "This did not work"}
        action={retry && <Button onClick={retry}>Try again</Button>}
      >
        {away
          ? "Runs go on meanwhile. The page tries again by itself."
          : error instanceof Error
            ? error.message
            : String(error)}
      </State>
    </div>
  )
}

const NOTE_ICONS = { plain: Info, warn: TriangleAlert, bad: CircleAlert }

export function Note({ tone, children }: { tone: keyof typeof NOTE_ICONS; children: ReactNode }) {
  const Icon = NOTE_ICONS[tone]
  return (
    <div className={[css.note, tone !== "plain" && css[tone]].filter(Boolean).join(" ")}>
      <Icon size={20} aria-hidden="true" />
      <div>{children}</div>
    </div>
  )
}

/** `value`: 0..1. */
export function Bar({ value, label }: { value: number; label: string }) {
  return (
    <Progress.Root
      className={css.bar}
      value={value * 100}
      aria-label={label}
      getValueLabel={() => share(value)}
    >
      <Progress.Indicator style={{ width: `${value * 100}%` }} />
    </Progress.Root>
  )
}

/** Holds the place of what is being loaded, so that nothing jumps when it comes. */
export function Bone({ width = "100%", height = "1.25rem" }: { width?: string; height?: string }) {
  return <span className={css.bone} style={{ width, height }} aria-hidden="true" />
}

export function Loading({ what, rows = 3 }: { what: string; rows?: number }) {
  return (
    <div role="status" style={{ display: "grid", gap: "var(--gap-3)" }}>
      <span className="visually-hidden">{what}</span>
      {Array.from({ length: rows }, (_, row) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: they are all alike
        <Bone key={row} width={`${100 - 12 * (row % 3)}%`} />
      ))}
    </div>
  )
}
