/** Who is signed in on this browser: a token and its user, shared by all of its tabs. */

import { useSyncExternalStore } from "react"
import type { Project } from "./supabase"

const KEY = "trainyard.session"

export interface Session {
  token: string
  user: { id: string; email: string }
  /** Milliseconds since the epoch. */
  expiresAt: number
  /** What another token is had for once this one runs out; without it somebody signs in again. */
  renewal?: { project: Project; token: string }
}

const listeners = new Set<() => void>()
let current = read()
let isStored = true

function read(): Session | null {
  try {
    const stored = JSON.parse(localStorage.getItem(KEY) ?? "null") as Session | null
    return stored && (stored.renewal || stored.expiresAt > Date.now()) ? stored : null
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

/** As another tab may have left it a moment ago, before this one was told. */
export function storedSession(): Session | null {
  return isStored ? read() : current
}

export function setSession(session: Session | null): void {
  try {
    if (session) localStorage.setItem(KEY, JSON.stringify(session))
    else localStorage.removeItem(KEY)
  } catch {
    isStored = false // not allowed: signed in for as long as this page stays open
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
