/** Signing in and out: a token for calls, and the cookie that downloads and event streams need. */

import { api, bodyOf } from "./api/client"
import { getSession, type Session, setSession } from "./session"

/** By an address alone, where the API allows it (`AUTH_DEV_LOGIN`). */
export async function devLogin(email: string): Promise<void> {
  const signedIn = await bodyOf(api.POST("/auth/dev-login", { body: { email } }))
  await begin({
    token: signedIn.access_token,
    user: { id: signedIn.user.id, email: signedIn.user.email },
    expiresAt: Date.now() + signedIn.expires_in * 1000,
  })
}

/** By e-mail and password, where Supabase has the users (`SUPABASE_URL`). Raises what Supabase says. */
export async function supabaseLogin(
  url: string,
  anonKey: string,
  email: string,
  password: string,
): Promise<void> {
  const answer = await fetch(`${url}/auth/v1/token?grant_type=password`, {
    method: "POST",
    headers: { apikey: anonKey, "Content-Type": "application/json" },
    body: JSON.stringify({ email, password }),
  })
  const said = await answer.json()
  if (!answer.ok) throw new Error(said.error_description ?? said.msg ?? "Supabase refused the sign-in")
  await begin({
    token: said.access_token,
    user: { id: said.user.id, email: said.user.email },
    expiresAt: Date.now() + said.expires_in * 1000,
  })
}

async function begin(session: Session): Promise<void> {
  setSession(session)
  await api.POST("/auth/session")
}

export async function signOut(): Promise<void> {
  if (getSession()) await api.DELETE("/auth/session").catch(() => {}) // away: the token goes all the same
  setSession(null)
}
