import { useNavigate, useSearch } from "@tanstack/react-router"
import { ArrowDown, ArrowUp, ArrowUpDown, Award } from "lucide-react"
import type { ReactNode } from "react"
import type { Schemas } from "../api/client"
import { score } from "../format"
import { metricLabel } from "../metrics"
import { Badge, Card } from "../ui/surface"
import { Interval } from "./interval"
import { columnsOf, heldOut, type Row, sorted } from "./leaderboard"
import css from "./leaderboard-card.module.css"
import { CandidateState } from "./states"

type Results = Schemas["Results"]

const RANK = "rank"

/** What every forecast has to be ahead of: the last season again. */
const NAIVE = "seasonal_naive"

const ENSEMBLE = "_ensemble"

interface LeaderboardCardProps {
  results: Results
  /** The model whose plots are shown. */
  shown: string
  onSelect: (modelName: string) => void
}

export function LeaderboardCard({ results, shown, onSelect }: LeaderboardCardProps) {
  const { sort = RANK } = useSearch({ from: "/dashboard/blueprints/tasks/$taskId" })
  const columns = columnsOf(results)
  const rows = sorted(results.leaderboard, sort)
  const metric = metricLabel(results.metric ?? "score")
  const greater = results.greater_is_better[results.metric ?? ""] ?? true
  const scale = scaleOf(results.leaderboard)
  const naive = results.leaderboard.find(({ model_name }) => model_name === NAIVE)?.rank ?? null
  return (
    <Card
      title="Leaderboard"
      about={`Ranked by ${metric} in validation; all other figures are of ${heldOut(results)}, which no model has seen.`}
    >
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls is scrolled with the keyboard, too */}
      <section className={css.scroll} aria-label="Table of all models" tabIndex={0}>
        <table className={css.table}>
          <thead>
            <tr>
              <Sortable sort={sort} name={RANK} label="Rank" about="Best first, by validation" />
              <Sortable sort={sort} name="label" label="Model" about="In the alphabet's order" />
              <Sortable
                sort={sort}
                name="cv_mean"
                label={`${metric}, validation`}
                about="The mean over folds that decides the rank, and its interval"
                greaterFirst={greater}
              />
              {columns.map(({ name, label, about, greaterFirst }) => (
                <Sortable
                  key={name}
                  sort={sort}
                  name={name}
                  label={label}
                  about={about}
                  greaterFirst={greaterFirst}
                />
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <tr key={row.model_name} data-shown={row.model_name === shown || undefined}>
                <td className="number">{row.rank ?? "–"}</td>
                <th scope="row">
                  <Model
                    row={row}
                    shown={row.model_name === shown}
                    beaten={naive !== null && row.rank !== null && row.rank > naive}
                    onSelect={onSelect}
                  />
                </th>
                {row.rank === null ? (
                  <td colSpan={columns.length + 1} className={css.why}>
                    <CandidateState status={row.status} />
                    {row.reason && <p className={css.soft}>{row.reason}</p>}
                  </td>
                ) : (
                  <>
                    <td className="number">
                      {score(row.cv_mean)}
                      {row.cv_std !== null && <span className={css.soft}> ± {score(row.cv_std)}</span>}
                      <Spread row={row} scale={scale} />
                    </td>
                    {columns.map(({ name, text }) => (
                      <td key={name} className="number">
                        {text(row)}
                      </td>
                    ))}
                  </>
                )}
              </tr>
            ))}
          </tbody>
        </table>
      </section>
      {rows.some(({ rank, model_name }) => rank !== null && model_name.endsWith(ENSEMBLE)) && (
        <p className={css.note}>
          An ensemble is made of other models of the run: its time and size are those of all its members.
        </p>
      )}
    </Card>
  )
}

interface ModelProps {
  row: Row
  shown: boolean
  /** By the naive forecast. */
  beaten: boolean
  onSelect: (modelName: string) => void
}

function Model({ row, shown, beaten, onSelect }: ModelProps) {
  if (row.rank === null) return row.label
  return (
    <>
      <button
        type="button"
        className={css.model}
        aria-pressed={shown}
        title={`Show the plots of ${row.label}`}
        onClick={() => onSelect(row.model_name)}
      >
        {row.label}
      </button>
      {row.rank === 1 && <Award size={18} className={css.gold} role="img" aria-label="Best model" />}
      {row.tied_with_best && <Badge tone="accent">ties with the best</Badge>}
      {beaten && <Badge tone="warn">behind the naive forecast</Badge>}
      <p className={css.soft}>{row.algorithm}</p>
    </>
  )
}

function Spread({ row, scale }: { row: Row; scale: [number, number] }) {
  const { score_low: low, score_high: high, cv_mean: value } = row
  if (low === null || high === null || value === null) return null
  return (
    <>
      <span className="visually-hidden">
        , from {score(low)} to {score(high)}
      </span>
      <Interval low={low} high={high} value={value} scale={scale} />
    </>
  )
}

function scaleOf(rows: Row[]): [number, number] {
  const ends = rows.flatMap((row) =>
    [row.score_low, row.score_high, row.cv_mean].filter((end) => end !== null),
  )
  return [Math.min(...ends), Math.max(...ends)]
}

interface SortableProps {
  sort: string
  name: string
  label: ReactNode
  about: string
  greaterFirst?: boolean
}

/** The best end first, then the other one. */
function Sortable({ sort, name, label, about, greaterFirst = false }: SortableProps) {
  const navigate = useNavigate({ from: "/dashboard/blueprints/tasks/$taskId" })
  const now = sort === name ? "ascending" : sort === `-${name}` ? "descending" : undefined
  const first = greaterFirst ? `-${name}` : name
  const next = sort === first ? (greaterFirst ? name : `-${name}`) : first
  const Icon = now === "ascending" ? ArrowUp : now === "descending" ? ArrowDown : ArrowUpDown
  return (
    <th scope="col" aria-sort={now} title={about}>
      <button
        type="button"
        className={css.sort}
        onClick={() =>
          navigate({
            search: ({ sort: _, ...before }) => (next === RANK ? before : { ...before, sort: next }),
            replace: true,
            resetScroll: false,
          })
        }
      >
        {label}
        <Icon size={14} aria-hidden="true" />
      </button>
    </th>
  )
}
