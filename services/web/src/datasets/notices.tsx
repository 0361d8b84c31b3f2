import { useState } from "react"
import type { Schemas } from "../api/client"
import { count } from "../format"
import { Button } from "../ui/button"
import { Card, Note } from "../ui/surface"
import css from "./dataset.module.css"

const SHOWN = 5

/** What to know of a table before it is trained on: what was seen, the evidence, what is done about it. */
export function Notices({ notices }: { notices: Schemas["Notice"][] }) {
  const [all, setAll] = useState(false)
  if (notices.length === 0) return null
  const shown = all ? notices : notices.slice(0, SHOWN)
  return (
    <Card title={`Worth knowing (${count(notices.length)})`}>
      <ul className={css.notices}>
        {shown.map(({ code, column, message, evidence, action }) => (
          <li key={`${code} ${column ?? ""} ${message}`}>
            <Note tone="warn">
              <strong>{message}</strong> {action}
              {evidence && <span className={css.soft}> ({evidence})</span>}
            </Note>
          </li>
        ))}
      </ul>
      {notices.length > SHOWN && (
        <Button look="quiet" small aria-expanded={all} onClick={() => setAll(!all)}>
          {all ? "Show fewer" : `Show all ${count(notices.length)}`}
        </Button>
      )}
    </Card>
  )
}
