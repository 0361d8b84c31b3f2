import { Link } from "@tanstack/react-router"
import { sentence } from "../format"
import { buttonClass } from "../ui/button"
import { Card, State } from "../ui/surface"

/** A table whose profile could not be made: what is wrong with it, and where. */
export function Unreadable({ error }: { error: Error }) {
  return (
    <Card>
      <State
        title="This table cannot be read"
        action={
          <Link to="/dashboard/blueprints" className={buttonClass({})}>
            Upload a corrected one
          </Link>
        }
      >
        {sentence(error.message)}
      </State>
    </Card>
  )
}
