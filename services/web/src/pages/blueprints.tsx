import { useNavigate, useSearch } from "@tanstack/react-router"
import { Datasets } from "../datasets/datasets"
import { Runs } from "../runs/runs"
import { useTitle } from "../title"
import { PageHead } from "../ui/page-head"
import { Tabs } from "../ui/tabs"

export function BlueprintsPage() {
  const { tab = "datasets" } = useSearch({ from: "/dashboard/blueprints" })
  const navigate = useNavigate()
  useTitle(tab === "runs" ? "Runs" : "Datasets")
  return (
    <>
      <PageHead title="Blueprints" about="Bring a table, say what to predict, and take the models home." />
      <Tabs
        label="Blueprints"
        value={tab}
        onChange={(name) =>
          navigate({ to: "/dashboard/blueprints", search: name === "runs" ? { tab: name } : {} })
        }
        tabs={[
          { name: "datasets", title: "Datasets", content: <Datasets /> },
          { name: "runs", title: "Runs", content: <Runs /> },
        ]}
      />
    </>
  )
}
