/** A signed link: for another machine, which needs no account to fetch the file with it. */

import { useQuery } from "@tanstack/react-query"
import { Copy } from "lucide-react"
import { useRef } from "react"
import { api, type Schemas } from "../api/client"
import { bytes, clock } from "../format"
import { Button } from "../ui/button"
import { Dialog, DialogActions } from "../ui/dialog"
import { Field } from "../ui/field"
import { Failed, Loading } from "../ui/surface"
import { useSay } from "../ui/toast"

interface LinkDialogProps {
  model: Schemas["Model"]
  open: boolean
  onOpenChange: (open: boolean) => void
}

export function LinkDialog({ model, open, onOpenChange }: LinkDialogProps) {
  return (
    <Dialog
      open={open}
      onOpenChange={onOpenChange}
      title="Signed link"
      about="Whoever has it can fetch the file, without an account, until it expires."
    >
      <Signed model={model} close={() => onOpenChange(false)} />
    </Dialog>
  )
}

function Signed({ model, close }: { model: Schemas["Model"]; close: () => void }) {
  const input = useRef<HTMLInputElement>(null)
  const say = useSay()
  const link = useQuery({
    queryKey: ["link", model.id],
    queryFn: async ({ signal }) => {
      const { data } = await api.GET("/models/{model_id}/download", {
        params: { path: { model_id: model.id } },
        headers: { Accept: "application/json" }, // to which it answers a link, and to all else the file
        signal,
      })
      return data as Schemas["Link"]
    },
    // Each one is counted and written down: none is made but when it is asked for.
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 0,
  })
  if (link.isError) return <Failed error={link.error} retry={() => link.refetch()} />
  if (!link.data) return <Loading what="Signing a link" rows={2} />
  const { url, filename, size_bytes, expires_at, sha256 } = link.data
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(url)
      say({ words: "The link is copied." })
    } catch {
      input.current?.select() // not allowed without https: what is selected can be copied by hand
    }
  }
  return (
    <>
      <Field
        label={filename}
        hint={
          <>
            {bytes(size_bytes)}, valid until {clock(expires_at)}. SHA-256 <code>{sha256}</code>
          </>
        }
      >
        {(field) => <input {...field} ref={input} readOnly value={url} onFocus={(e) => e.target.select()} />}
      </Field>
      <DialogActions>
        <Button onClick={close}>Close</Button>
        <Button look="primary" onClick={copy}>
          <Copy size={16} aria-hidden="true" />
          Copy link
        </Button>
      </DialogActions>
    </>
  )
}
