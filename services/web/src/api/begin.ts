/** Where a token becomes a session of this browser. */

import { type Session, setSession } from "../session"
import { errorOf, Unreachable } from "./problem"

/** Signed in from now on: the token is tried, and becomes the cookie that downloads carry.
 * Rejects with ApiError or Unreachable, and then nothing has changed. */
export async function begin(session: Session): Promise<void> {
  const headers = { Authorization: `Bearer ${session.token}` }
  const answer = await fetch("/auth/session", { method: "POST", headers }).catch((cause) => {
    throw new Unreachable(cause)
  })
  if (!answer.ok) throw await errorOf(answer)
  setSession(session)
}
