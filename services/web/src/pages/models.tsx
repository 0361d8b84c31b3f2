import { useNavigate, useSearch } from "@tanstack/react-router"
import { ModelList } from "../models/list"
import css from "../models/list.module.css"
import { Stats } from "../models/stats"
import { useTitle } from "../title"
import { Tabs } from "../ui/tabs"

export function ModelsPage() {
  useTitle("Models")
  const { tab } = useSearch({ from: "/dashboard/models" })
  const navigate = useNavigate({ from: "/dashboard/models" })
  return (
    <div className={css.page}>
      <h1>Models</h1>
      <Stats />
      <Tabs
        label="Models"
        value={tab ?? "saved"}
        onChange={(name) => navigate({ search: name === "trash" ? { tab: name } : {} })}
        tabs={[
          { name: "saved", title: "Saved", content: <ModelList trash={false} /> },
          { name: "trash", title: "Trash", content: <ModelList trash={true} /> },
        ]}
      />
    </div>
  )
}
