import { TriangleAlert } from "lucide-react"
import type { Schemas } from "../api/client"
import { Card } from "../ui/surface"
import { Words } from "../ui/words"
import css from "./warnings.module.css"

type Notice = Schemas["Notice"]

const GRAVE = new Set([
  "leaked-target",
  "suspiciously-strong",
  "future-information",
  "informative-row-number",
  "groups-split-apart",
  "duplicate-rows-across-split",
])

/** Whether scores are too good to be true: it is said before them. */
export function isGrave({ code }: Notice): boolean {
  return GRAVE.has(code)
}

interface WarningsCardProps {
  title?: string
  warnings: Notice[]
}

/** What was noticed about the table or the models, with its evidence, and what was done about it. */
export function WarningsCard({ title = "Worth knowing", warnings }: WarningsCardProps) {
  if (!warnings.length) return null
  return (
    <Card title={title} about="What was noticed, and what was done about it.">
      <ul className={css.warnings}>
        {Array.from(alike(warnings), ([key, group]) => (
          <li key={key}>
            <TriangleAlert size={18} aria-hidden="true" />
            <div>
              {group.map(({ message, evidence }) => (
                <div key={message}>
                  <h3>
                    <Words>{message}</Words>
                  </h3>
                  {evidence && <p className={css.evidence}>{evidence}</p>}
                </div>
              ))}
              <p>
                <Words>{group[0]?.action ?? ""}</Words>
              </p>
            </div>
          </li>
        ))}
      </ul>
    </Card>
  )
}

/** What is said of several columns or models, and has one answer, stands together. */
function alike(warnings: Notice[]): Map<string, Notice[]> {
  const groups = new Map<string, Notice[]>()
  for (const warning of warnings) {
    const key = `${warning.code} ${warning.action}`
    groups.set(key, [...(groups.get(key) ?? []), warning])
  }
  return groups
}
