/** Who is signed in on this browser: a token and its user, shared by all of its tabs. */

import { useSyncExternalStore } from "react"

const KEY = "trainyard.session"

export interface Session {
  token: string
  user: { id: string; email: string }
  /** Milliseconds since the epoch. */
  expiresAt: number
}

const listeners = new Set<() => void>()
let current = read()

function read(): Session | null {
  try {
    const stored = JSON.parse(localStorage.getItem(KEY) ?? "null") as Session | null
    return stored && stored.expiresAt > Date.now() ? stored : null
  } catch {
    return null
  }
}

function changed(session: Session | null): void {
  current = session
  for (const listener of listeners) listener()
}

addEventListener("storage", (event) => {
  if (event.key === KEY || event.key === null) changed(read())
})

export function getSession(): Session | null {
  return current
}

export function setSession(session: Session | null): void {
  try {
    if (session) localStorage.setItem(KEY, JSON.stringify(session))
    else localStorage.removeItem(KEY)
  } catch {
    // Storage is not allowed: signed in for as long as this page stays open.
  }
  changed(session)
}

/** Tells of every change, also one in another tab; gives back what ends that. */
export function onSession(listener: () => void): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

export function useSession(): Session | null {
  return useSyncExternalStore(onSession, getSession)
}
