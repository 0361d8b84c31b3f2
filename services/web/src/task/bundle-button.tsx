/** Everything of a run as one ZIP: asked for, waited for with the packager's progress shown, then fetched. */

import { useMutation } from "@tanstack/react-query"
import { Package } from "lucide-react"
import { useState } from "react"
import { allModelsPath, download } from "../api/download"
import { share } from "../format"
import { Button } from "../ui/button"
import { Bar } from "../ui/surface"
import { useSay } from "../ui/toast"
import css from "./bundle-button.module.css"
import { packed } from "./made"

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
