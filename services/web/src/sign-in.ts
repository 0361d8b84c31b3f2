/** Signing in and out. */

import { begin } from "./api/begin"
import { api, bodyOf } from "./api/client"
import { getSession, setSession } from "./session"
import { endAt, type Project, tokenFrom } from "./supabase"

/** By an address alone, where the API allows it (`AUTH_DEV_LOGIN`). */
export async function devLogin(email: string): Promise<void> {
  const signedIn = await bodyOf(api.POST("/auth/dev-login", { body: { email } }))
  await begin({
    token: signedIn.access_token,
    user: { id: signedIn.user.id, email: signedIn.user.email },
    expiresAt: Date.now() + signedIn.expires_in * 1000,
  })
}

/** By e-mail and password, where Supabase has the users (`SUPABASE_URL`). */
export async function supabaseLogin(project: Project, email: string, password: string): Promise<void> {
  await begin(await tokenFrom(project, { grant: "password", email, password }))
}

/** With a token that somebody has from their identity provider, or from `make token`. */
export async function tokenLogin(token: string): Promise<void> {
  const { sub, email, exp } = claimsOf(token)
  await begin({ token, user: { id: sub, email: email ?? sub }, expiresAt: exp * 1000 })
}

export async function signOut(): Promise<void> {
  const session = getSession()
  // Where one of them is away, the token goes from here all the same.
  if (session) await Promise.allSettled([api.DELETE("/auth/session"), endAt(session)])
  setSession(null)
}

/** What a JWT says, which the API checks. */
function claimsOf(token: string): { sub: string; email?: string; exp: number } {
  try {
    const payload = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/")
    const bytes = Uint8Array.from(atob(payload), (letter) => letter.charCodeAt(0))
    const claims = JSON.parse(new TextDecoder().decode(bytes))
    if (typeof claims.sub === "string" && typeof claims.exp === "number") return claims
  } catch {
    // It is not one.
  }
  throw new Error("This is no user's token: it has three parts with dots between them, and begins with ey")
}
