import { useMutation, useQuery } from "@tanstack/react-query"
import { useNavigate, useSearch } from "@tanstack/react-router"
import { type ReactNode, useState } from "react"
import { ApiError } from "../api/problem"
import { signInQuery } from "../api/queries"
import { devLogin, supabaseLogin, tokenLogin } from "../sign-in"
import type { Project } from "../supabase"
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
            <TokenForm />
          )}
        </Card>
      </div>
    </main>
  )
}

/** Where nobody is asked for a password: whoever has a token is known by it. */
function TokenForm() {
  const [token, setToken] = useState("")
  const signingIn = useSignIn(() => tokenLogin(token.trim()))
  return (
    <Form signingIn={signingIn}>
      <Field
        label="Access token"
        required
        fault={signingIn.error?.message}
        hint="From your identity provider, or from whoever runs this server. It has three parts with dots between them."
      >
        {(input) => (
          <textarea
            {...input}
            rows={4}
            autoComplete="off"
            spellCheck={false}
            value={token}
            onChange={(event) => setToken(event.target.value)}
          />
        )}
      </Field>
    </Form>
  )
}

function SignInForm({ supabase }: { supabase?: Project | undefined }) {
  const [email, setEmail] = useState("")
  const [password, setPassword] = useState("")
  const signingIn = useSignIn(() => (supabase ? supabaseLogin(supabase, email, password) : devLogin(email)))
  const { error } = signingIn
  const fault = error instanceof ApiError ? error.fault("/email") : undefined
  return (
    <Form signingIn={signingIn}>
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
    </Form>
  )
}

/** Who has signed in goes on to where they wanted to go. */
function useSignIn(how: () => Promise<void>) {
  const { next } = useSearch({ from: "/sign-in" })
  const navigate = useNavigate()
  return useMutation({
    mutationFn: how,
    onSuccess: () => navigate({ href: next ?? "/dashboard/blueprints", replace: true }),
  })
}

function Form({ signingIn, children }: { signingIn: ReturnType<typeof useSignIn>; children: ReactNode }) {
  return (
    <form
      className={css.form}
      onSubmit={(event) => {
        event.preventDefault()
        signingIn.mutate()
      }}
    >
      {children}
      <Button type="submit" look="primary" busy={signingIn.isPending}>
        Sign in
      </Button>
    </form>
  )
}
