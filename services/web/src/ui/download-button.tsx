import { useMutation } from "@tanstack/react-query"
import type { ComponentProps } from "react"
import { download } from "../api/download"
import { Button } from "./button"
import { useSay } from "./toast"

type DownloadButtonProps = Omit<ComponentProps<typeof Button>, "onClick" | "busy"> & { path: string }

/** Busy until the browser has the download; a refusal is said in words. */
export function DownloadButton({ path, children, ...rest }: DownloadButtonProps) {
  const say = useSay()
  const downloading = useMutation({
    mutationFn: () => download(path),
    onError: (error) => say({ words: error.message, bad: true }),
  })
  return (
    <Button {...rest} busy={downloading.isPending} onClick={() => downloading.mutate()}>
      {children}
    </Button>
  )
}
