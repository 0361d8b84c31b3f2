import { useTitle } from "../title"

export function BlueprintsPage() {
  useTitle("Blueprints")
  return <h1>Blueprints</h1>
}
