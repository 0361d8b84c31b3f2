/** Everything of a run as one ZIP: asked for, waited for with the packager's progress shown, then fetched. */

import { useMutation } from "@tanstack/react-query"
import { Package } from "lucide-react"
import { useState } from "react"
import { api, type Schemas } from "../api/client"
import { allModelsPath, download } from "../api/download"
import { share } from "../format"
import { Button } from "../ui/button"
import { Bar } from "../ui/surface"
import { useSay } from "../ui/toast"
import css from "./bundle-button.module.css"

const LOOK_EVERY_MS = 1_000

export function BundleButton({ taskId }: { taskId: string }) {
  const say = useSay()
  const [progress, setProgress] = useState<number>()
  const packing = useMutation({
    mutationFn: async () => {
      for await (const { progress } of packed(taskId)) setProgress(progress)
      await download(allModelsPath(taskId))
    },
    onSuccess: () => say({ words: "The ZIP of all models is being downloaded." }),
    onError: (error) => say({ words: error.message, bad: true }),
    onSettled: () => setProgress(undefined),
  })
  return (
    <div className={css.bundle}>
      <Button busy={packing.isPending} onClick={() => packing.mutate()}>
        {!packing.isPending && <Package size={18} aria-hidden="true" />}
        {progress === undefined
          ? "Download All as ZIP"
          : `Packing, ${share(Math.floor(progress * 100) / 100)}`}
      </Button>
      <div className={css.bar}>
        {progress !== undefined && <Bar value={progress} label="Packing the ZIP" />}
      </div>
      <span className="visually-hidden" role="status">
        {progress !== undefined && "The ZIP is being packed. Its download begins by itself."}
      </span>
    </div>
  )
}

/** The bundle until it is ready. Rejects with what the packager says where it failed. */
async function* packed(taskId: string): AsyncGenerator<Schemas["Bundle"]> {
  const params = { path: { task_id: taskId } }
  // Asks for it to be packed, and waits for none of it. Ready already, it answers with a link.
  const { response } = await api.GET("/ml/download-all-models/{task_id}", {
    params: { ...params, header: { Prefer: "wait=0" } },
    headers: { Accept: "application/json" },
  })
  if (response.status !== 202) return
  for (;;) {
    const { data } = await api.GET("/ml/bundles/{task_id}", { params })
    if (data?.status === "failed") throw new Error(data.error ?? "The ZIP could not be packed")
    if (data?.status !== "building") return
    yield data
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS))
  }
}
