/** Tables on their way to the API. They go on while other pages are looked at. */

import { useSyncExternalStore } from "react"
import type { Schemas } from "../api/client"
import { onceKey } from "../api/once"
import { ApiError } from "../api/problem"
import { uploadFile } from "../api/upload"
import { bytes, sentence } from "../format"
import { getSession } from "../session"
import type { Table } from "./queries"

export interface Upload {
  key: number
  name: string
  size: number
  state: "waiting" | "sending" | "stored" | "refused"
  /** 0..1 of its bytes. */
  share: number
  /** Why it was refused, and whether another try may help. */
  error?: string
  retry?: boolean
  stored?: Table
}

interface Going extends Upload {
  /** One for all of its tries. */
  once: string
  userId: string | undefined
  file: File
  stop: AbortController
  onStored: (table: Table) => void
}

const AT_A_TIME = 2
/** Of what is refused: the first try still goes on, too much at once, not signed in any more. */
const MAY_HELP = new Set([401, 409, 429])
const TABLE = /\.(csv|tsv|tab|txt|data)(\.(gz|zst))?$|\.(parquet|pq)$/i

/** What a chooser of files offers. */
export const ACCEPTED = ".csv,.tsv,.tab,.txt,.data,.gz,.zst,.parquet,.pq"

const listeners = new Set<() => void>()
let uploads: readonly Going[] = []
let keys = 0

function set(next: readonly Going[]): void {
  uploads = next
  for (const listener of listeners) listener()
}

function change(key: number, changes: Partial<Going>): void {
  set(uploads.map((one) => (one.key === key ? { ...one, ...changes } : one)))
}

export function startUploads(
  files: Iterable<File>,
  account: Schemas["Account"] | undefined,
  onStored: (table: Table) => void,
): void {
  const userId = getSession()?.user.id
  const added = Array.from(files, (file): Going => {
    const error = refusal(file, account)
    return {
      key: ++keys,
      name: file.name,
      size: file.size,
      state: error ? "refused" : "waiting",
      share: 0,
      ...(error && { error }),
      once: onceKey(),
      userId,
      file,
      stop: new AbortController(),
      onStored,
    }
  })
  set([...uploads, ...added])
  sendNext()
}

/** The API says the same, but a browser that is still sending does not always get to hear it. */
function refusal(file: File, account: Schemas["Account"] | undefined): string | undefined {
  if (!TABLE.test(file.name)) return "Only CSV, TSV (also .gz or .zst) and Parquet can be read."
  if (file.size === 0) return "The file is empty."
  if (!account) return undefined
  const { max_upload_bytes: most, max_stored_bytes: room } = account.limits
  if (file.size > most)
    return `It has ${bytes(file.size)}; at most ${bytes(most)} are taken. A Parquet file of it is smaller.`
  const left = Math.max(room - account.stored_bytes, 0)
  if (file.size > left)
    return `It has ${bytes(file.size)}, and of your ${bytes(room)} only ${bytes(left)} are left. Delete datasets first; models in the trash count too, until they are purged.`
  return undefined
}

function sendNext(): void {
  for (;;) {
    const next = uploads.find(({ state }) => state === "waiting")
    if (!next || uploads.filter(({ state }) => state === "sending").length >= AT_A_TIME) return
    send(next)
  }
}

async function send(upload: Going): Promise<void> {
  const { key, file, stop } = upload
  change(key, { state: "sending" })
  try {
    const stored = await uploadFile(file, upload.once, stop.signal, (share) => change(key, { share }))
    change(key, { state: "stored", share: 1, stored })
    upload.onStored(stored)
  } catch (error) {
    if (stop.signal.aborted) return
    const final = error instanceof ApiError && error.status < 500 && !MAY_HELP.has(error.status)
    change(key, { state: "refused", error: faultOf(error as Error), retry: !final })
  } finally {
    sendNext()
  }
}

function faultOf(error: Error): string {
  return sentence((error instanceof ApiError && error.fault("/file")) || error.message)
}

/** Stops it if it is still on its way. */
export function dropUpload(key: number): void {
  uploads.find((one) => one.key === key)?.stop.abort()
  set(uploads.filter((one) => one.key !== key))
}

export function isOver({ state }: Upload): boolean {
  return state === "stored" || state === "refused"
}

export function dropEnded(): void {
  set(uploads.filter((upload) => !isOver(upload)))
}

/** The table is no more. */
export function dropUploadOf(fileId: string): void {
  set(uploads.filter(({ stored }) => stored?.file_id !== fileId))
}

export function retryUpload(key: number): void {
  change(key, { state: "waiting", share: 0, stop: new AbortController() })
  sendNext()
}

/** Those of who is signed in. */
export function useUploads(): readonly Upload[] {
  const all = useSyncExternalStore(subscribe, () => uploads)
  const userId = getSession()?.user.id
  return all.filter((one) => one.userId === userId)
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

addEventListener("beforeunload", (event) => {
  // Leaving would break them off.
  if (!uploads.every(isOver)) event.preventDefault()
})
