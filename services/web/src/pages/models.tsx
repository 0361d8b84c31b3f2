import { useTitle } from "../title"

export function ModelsPage() {
  useTitle("Models")
  return <h1>Models</h1>
}
