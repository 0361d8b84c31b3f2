import { useMutation, useQuery } from "@tanstack/react-query"
import { useNavigate, useSearch } from "@tanstack/react-router"
import { useState } from "react"
import { ApiError } from "../api/problem"
import { signInQuery } from "../api/queries"
import { devLogin, supabaseLogin } from "../sign-in"
import { useTitle } from "../title"
import { Button } from "../ui/button"
import { Field } from "../ui/field"
import { Card, Failed, Loading, Note } from "../ui/surface"
import css from "./sign-in.module.css"

export function SignInPage() {
  useTitle("Sign in")
  const ways = useQuery(signInQuery)
  return (
    <main className={css.page}>
      <div className={css.panel}>
        <h1 className={css.brand}>
          <img src="/favicon.svg" alt="" />
          Trainyard
        </h1>
        <p>Train a leaderboard of models on your table, and take every one of them home.</p>
        <Card title="Sign in">
          {ways.isPending ? (
            <Loading what="Asking how to sign in" />
          ) : ways.isError ? (
            <Failed error={ways.error} retry={() => ways.refetch()} />
          ) : ways.data.dev_login || ways.data.supabase ? (
            <SignInForm supabase={ways.data.supabase} />
          ) : (
            <Note tone="warn">
              This server has no sign-in for browsers. Its operator sets SUPABASE_URL and SUPABASE_ANON_KEY.
            </Note>
          )}
        </Card>
      </div>
    </main>
  )
}

function SignInForm({ supabase }: { supabase?: { url: string; anon_key: string } | undefined }) {
  const { next } = useSearch({ from: "/sign-in" })
  const navigate = useNavigate()
  const [email, setEmail] = useState("")
  const [password, setPassword] = useState("")
  const signingIn = useMutation({
    mutationFn: () =>
      supabase ? supabaseLogin(supabase.url, supabase.anon_key, email, password) : devLogin(email),
    onSuccess: () => navigate({ href: next ?? "/dashboard/blueprints", replace: true }),
  })
  const { error } = signingIn
  const fault = error instanceof ApiError ? error.fault("/email") : undefined
  return (
    <form
      className={css.form}
      onSubmit={(event) => {
        event.preventDefault()
        signingIn.mutate()
      }}
    >
      <Field
        label="E-mail"
        required
        fault={fault}
        hint={supabase ? undefined : "Any address: this is a local stack, and it asks for no password."}
      >
        {(input) => (
          <input
            {...input}
            type="email"
            autoComplete="email"
            value={email}
            onChange={(event) => setEmail(event.target.value)}
          />
        )}
      </Field>
      {supabase && (
        <Field label="Password" required>
          {(input) => (
            <input
              {...input}
              type="password"
              autoComplete="current-password"
              value={password}
              onChange={(event) => setPassword(event.target.value)}
            />
          )}
        </Field>
      )}
      {error && !fault && (
        <div role="alert">
          <Note tone="bad">{error.message}</Note>
        </div>
      )}
      <Button type="submit" look="primary" busy={signingIn.isPending}>
        Sign in
      </Button>
    </form>
  )
}
