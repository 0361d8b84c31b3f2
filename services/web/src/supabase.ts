/** Supabase's sign-in (GoTrue): tokens for a password, and later ones for what came with the one before. */

import type { Session } from "./session"

export interface Project {
  url: string
  anon_key: string
}

type Grant =
  | { grant: "password"; email: string; password: string }
  | { grant: "refresh_token"; refresh_token: string }

/** Supabase has said no: trying again does not help. */
export class Refused extends Error {}

/** Rejects with Refused and Supabase's own words, or with another Error where it cannot be asked now. */
export async function tokenFrom(project: Project, { grant, ...body }: Grant): Promise<Session> {
  const answer = await ask(project, `token?grant_type=${grant}`, body)
  const said = await answer.json().catch(() => ({}))
  const words: string | undefined = said.error_description ?? said.msg
  if (answer.status === 429 || answer.status >= 500) {
    throw new Error(words ?? "The sign-in is busy or away. Try again in a moment.")
  }
  if (!answer.ok) throw new Refused(words ?? "The sign-in was refused")
  return {
    token: said.access_token,
    user: { id: said.user.id, email: said.user.email },
    expiresAt: Date.now() + said.expires_in * 1000,
    renewal: { project, token: said.refresh_token },
  }
}

/** Whatever could renew the session can do so no more. */
export async function endAt({ token, renewal }: Session): Promise<void> {
  if (renewal) await ask(renewal.project, "logout?scope=local", {}, token)
}

async function ask(project: Project, what: string, body: object, token?: string): Promise<Response> {
  try {
    return await fetch(`${project.url}/auth/v1/${what}`, {
      method: "POST",
      headers: {
        apikey: project.anon_key,
        "Content-Type": "application/json",
        ...(token && { Authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify(body),
    })
  } catch (cause) {
    throw new Error(`${new URL(project.url).host}, which signs people in here, cannot be reached`, { cause })
  }
}
