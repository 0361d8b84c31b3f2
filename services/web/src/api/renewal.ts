/** A token that runs out while somebody works is replaced in time, by one tab for all of them. */

import { getSession, onSession, type Session, setSession, storedSession } from "../session"
import { Refused, tokenFrom } from "../supabase"
import { begin } from "./begin"
import { ApiError } from "./problem"

const EARLY_MS = 60_000
const AGAIN_MS = 10_000

let renewing: Promise<void> | undefined

/** The session for the next call: one that is about to run out is renewed first, where it can be. */
export async function freshSession(): Promise<Session | null> {
  if (isDue(getSession())) {
    renewing ??= oneTabAtATime(renew).finally(() => {
      renewing = undefined
    })
    await renewing
  }
  return getSession()
}

/** Also while nothing is called: the cookie that downloads carry runs out with the token. */
export function keepSignedIn(): void {
  let timer: ReturnType<typeof setTimeout> | undefined
  const plan = () => {
    clearTimeout(timer)
    const session = getSession()
    if (!session?.renewal) return
    const left = session.expiresAt - EARLY_MS - Date.now()
    timer = setTimeout(() => freshSession().then(plan), left > 0 ? left : AGAIN_MS)
  }
  onSession(plan)
  freshSession().then(plan)
}

function isDue(session: Session | null): boolean {
  return Boolean(session?.renewal && session.expiresAt - Date.now() < EARLY_MS)
}

async function renew(): Promise<void> {
  const session = storedSession()
  if (!session?.renewal || !isDue(session)) return setSession(session) // another tab was first
  const { project, token } = session.renewal
  try {
    await begin(await tokenFrom(project, { grant: "refresh_token", refresh_token: token }))
  } catch (error) {
    const refused = error instanceof Refused || (error instanceof ApiError && error.status === 401)
    if (refused) setSession(null)
    // Else somebody is away: the token may still do, and the next call tries again.
  }
}

/** What renews a token can be used once. */
async function oneTabAtATime(what: () => Promise<void>): Promise<void> {
  // There without https only on this machine; elsewhere two tabs at once may end in a sign-in.
  if (navigator.locks) await navigator.locks.request("trainyard.renewal", what)
  else await what()
}
