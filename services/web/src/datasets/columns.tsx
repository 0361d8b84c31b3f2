/** What is in each column. A wide table's are shown some at a time; the address says which are looked for. */

import { useNavigate, useSearch } from "@tanstack/react-router"
import { useState } from "react"
import { count, counted } from "../format"
import { datasetSearch, ROLES } from "../search"
import { guess } from "../train/guess"
import { Button } from "../ui/button"
import { useKeptFocus } from "../ui/kept-focus"
import { Choice, ListTools, SearchBox } from "../ui/list-tools"
import { Card, State } from "../ui/surface"
import { ColumnCard } from "./column-card"
import css from "./dataset.module.css"
import type { Profile } from "./queries"

const AT_ONCE = 48
const ANY = { name: "any", label: "Any" } as const
const FROM = "/dashboard/blueprints/files/$fileId"

export function Columns({ fileId, profile }: { fileId: string; profile: Profile }) {
  const search = useSearch({ from: FROM })
  const { q = "", role } = search
  const navigate = useNavigate({ from: FROM })
  const narrow = (to: { [name in keyof typeof search]: (typeof search)[name] | undefined }) =>
    navigate({ search: (before) => datasetSearch({ ...before, ...to }), replace: true, resetScroll: false })
  const [shown, setShown] = useState(AT_ONCE)
  const place = useKeptFocus<HTMLDivElement>()
  const asked = q.trim().toLowerCase()
  const found = profile.columns.filter(
    (column) => column.name.toLowerCase().includes(asked) && (!role || column.role === role),
  )
  const roles = ROLES.filter(({ name }) => profile.columns.some((column) => column.role === name))
  const all = counted(profile.columns.length, "column")
  return (
    <Card title="Columns">
      <div className={css.columns} ref={place}>
        <ListTools found={found.length === profile.columns.length ? all : `${count(found.length)} of ${all}`}>
          <SearchBox label="Search columns" value={q} onChange={(text) => narrow({ q: text || undefined })} />
          <Choice
            label="Kind"
            value={role ?? ANY.name}
            options={[ANY, ...roles]}
            onChange={(name) => narrow({ role: name === ANY.name ? undefined : name })}
          />
        </ListTools>
        {found.length === 0 && (
          <State title="No column is like that">Try a shorter word or another kind.</State>
        )}
        <ul className={css.grid}>
          {found.slice(0, shown).map((column) => (
            <ColumnCard
              key={column.name}
              column={column}
              rows={profile.rows}
              fileId={fileId}
              learnable={guess(profile, column.name) !== undefined}
            />
          ))}
        </ul>
        {found.length > shown && (
          <Button onClick={() => setShown(shown + AT_ONCE)}>
            Show {count(Math.min(AT_ONCE, found.length - shown))} more
          </Button>
        )}
      </div>
    </Card>
  )
}
