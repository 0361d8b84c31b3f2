import { useQuery } from "@tanstack/react-query"
import { bytes, count } from "../format"
import { TASK_TYPES } from "../metrics"
import { Bone } from "../ui/surface"
import { modelStatsQuery } from "./queries"
import css from "./stats.module.css"

/** The registry in numbers: all of it, whatever the list below is narrowed to. */
export function Stats() {
  const { data } = useQuery(modelStatsQuery)
  const most = data?.most_downloaded[0]
  const kinds = Object.entries(data?.by_task_type ?? {}).map(
    ([kind, models]) => `${count(models)} ${TASK_TYPES[kind as keyof typeof TASK_TYPES].toLowerCase()}`,
  )
  return (
    <dl className={css.stats}>
      <Figure name="Saved models" value={data && count(data.count)} note={kinds.join(", ")} />
      <Figure name="Stored" value={data && bytes(data.bytes)} note="Trash not counted" />
      <Figure
        name="Downloads"
        value={data && count(data.links_issued + data.transfers)}
        note="Links issued and files sent"
      />
      <Figure
        name="Most downloaded"
        value={data && (most?.model_name ?? "None yet")}
        note={most?.algorithm ?? ""}
      />
    </dl>
  )
}

function Figure({ name, value, note }: { name: string; value: string | undefined; note: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd className={css.value} title={value}>
        {value ?? <Bone width="5rem" />}
      </dd>
      <dd className={css.note}>{note}</dd>
    </div>
  )
}
