/** Where tables are dropped or chosen, and how each of them gets on. */

import { useQuery, useQueryClient } from "@tanstack/react-query"
import { FileUp } from "lucide-react"
import { type DragEvent, useId, useRef, useState } from "react"
import { filesQuery } from "../api/queries"
import { bytes } from "../format"
import { Button } from "../ui/button"
import { accountQuery } from "./queries"
import css from "./upload-area.module.css"
import { UploadRow } from "./upload-row"
import { ACCEPTED, dropEnded, isOver, startUploads, useUploads } from "./uploads"

export function UploadArea() {
  const client = useQueryClient()
  const account = useQuery(accountQuery)
  const limit = account.data?.limits.max_upload_bytes
  const uploads = useUploads()
  const { over, ...dropping } = useDrop(add)
  const chooser = useRef<HTMLInputElement>(null)
  const choose = useRef<HTMLButtonElement>(null)
  const hint = useId()

  function add(files: Iterable<File>): void {
    startUploads(files, account.data, () => {
      client.invalidateQueries({ queryKey: filesQuery.queryKey })
      client.invalidateQueries({ queryKey: accountQuery.queryKey })
    })
  }

  return (
    <section aria-label="Upload" className={css.upload}>
      <div className={css.area} data-over={over || undefined} {...dropping}>
        <FileUp size={28} aria-hidden="true" />
        <div>
          <p className={css.words}>{over ? "Let go to upload" : "Drop tables here"}</p>
          <p id={hint} className={css.hint}>
            CSV, TSV (also .gz or .zst) or Parquet, with names in the first row
            {limit !== undefined && `, ${bytes(limit)} at most`}
          </p>
        </div>
        <Button ref={choose} look="primary" aria-describedby={hint} onClick={() => chooser.current?.click()}>
          Choose files
        </Button>
        <input
          ref={chooser}
          type="file"
          multiple
          hidden
          accept={ACCEPTED}
          aria-label="Tables to upload"
          onChange={({ target }) => {
            add(Array.from(target.files ?? []))
            target.value = "" // the same file may be chosen again
          }}
        />
      </div>
      {uploads.length > 0 && (
        <ul className={css.list} aria-label="Uploads">
          {uploads.map((upload) => (
            <UploadRow key={upload.key} upload={upload} />
          ))}
        </ul>
      )}
      {uploads.length > 1 && uploads.every(isOver) && (
        <Button
          look="quiet"
          small
          className={css.done}
          onClick={() => {
            dropEnded()
            choose.current?.focus()
          }}
        >
          Dismiss all
        </Button>
      )}
    </section>
  )
}

/** Files that are dragged over an element: whether they are over it, and its handlers. */
function useDrop(onFiles: (files: Iterable<File>) => void) {
  const [over, setOver] = useState(false)
  const take = (event: DragEvent) => {
    if (!event.dataTransfer.types.includes("Files")) return
    event.preventDefault()
    setOver(true)
  }
  return {
    over,
    onDragEnter: take,
    onDragOver: take,
    onDragLeave: (event: DragEvent<HTMLElement>) => {
      // Onto a child of it is not away from it.
      if (!event.currentTarget.contains(event.relatedTarget as Node | null)) setOver(false)
    },
    onDrop: (event: DragEvent) => {
      event.preventDefault()
      setOver(false)
      onFiles(event.dataTransfer.files)
    },
  }
}
