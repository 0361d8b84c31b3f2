import { Award } from "lucide-react"
import type { Schemas } from "../api/client"
import { bytes, score, seconds, share } from "../format"
import { metricLabel } from "../metrics"
import { Card } from "../ui/surface"
import css from "./best-card.module.css"
import { heldOut, numberOf, type Row } from "./leaderboard"

interface BestCardProps {
  results: Schemas["Results"]
  best: Row
}

/** The model on top, how sure that is, and what it costs. */
export function BestCard({ results, best }: BestCardProps) {
  const metric = results.metric ?? ""
  const ties = results.leaderboard.filter(({ tied_with_best }) => tied_with_best).length
  const spread = results.uncertainty[best.model_name]
  const held = numberOf(best, metric)
  return (
    <Card className={css.card} aria-label="Best model">
      <div className={css.name}>
        <Award size={36} aria-hidden="true" />
        <div>
          <p className={css.soft}>Best model</p>
          <h2>{best.label}</h2>
        </div>
      </div>
      <dl className={css.facts}>
        <Fact name={`${metricLabel(metric)} in validation`} value={score(best.cv_mean)}>
          {spread?.validation &&
            `${score(spread.validation[0])} to ${score(spread.validation[1])} (${share(spread.level)} interval)`}
        </Fact>
        <Fact name={`${metricLabel(metric)} on ${heldOut(results)}`} value={score(held)}>
          {spread?.held_out && `${score(spread.held_out[0])} to ${score(spread.held_out[1])}`}
        </Fact>
        <Fact name="Training" value={seconds(best.fit_seconds)} />
        <Fact name="File" value={bytes(best.size_bytes)} />
      </dl>
      {ties > 0 && (
        <p className={css.soft}>
          {ties === 1 ? "1 other model ties" : `${ties} other models tie`} with it: these rows cannot tell
          them apart. The smallest or fastest of them is as good a choice.
        </p>
      )}
    </Card>
  )
}

function Fact({ name, value, children }: { name: string; value: string; children?: React.ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd className="number">
        <span className={css.value}>{value}</span>
        {children && <span className={css.soft}>{children}</span>}
      </dd>
    </div>
  )
}
