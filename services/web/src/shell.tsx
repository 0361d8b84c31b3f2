/** The frame of every page behind the sign-in. */

import { Link, Outlet, useRouterState } from "@tanstack/react-router"
import { Check, CircleUser, Database, LogOut, Monitor, Moon, Package, Sun } from "lucide-react"
import { DropdownMenu as Menu } from "radix-ui"
import { useEffect, useRef, useState } from "react"
import { useSession } from "./session"
import css from "./shell.module.css"
import { signOut } from "./sign-in"
import { getTheme, setTheme, type Theme } from "./theme"
import { Button } from "./ui/button"
import { Connection } from "./ui/connection"
import menu from "./ui/menu.module.css"

export function Shell() {
  const main = useRef<HTMLElement>(null)
  const path = useRouterState({ select: (state) => state.location.pathname })
  const first = useRef(true)
  // biome-ignore lint/correctness/useExhaustiveDependencies: it is for the path's change
  useEffect(() => {
    // Who hears the page is taken to a new one's beginning, as a whole page's load would do.
    if (!first.current) main.current?.focus({ preventScroll: true })
    first.current = false
  }, [path])
  return (
    <>
      <a className={css.skip} href="#main">
        Skip to the content
      </a>
      <header className={css.top}>
        <div className={css.bar}>
          <Link to="/dashboard/blueprints" className={css.brand}>
            <img src="/favicon.svg" alt="" />
            <span>Trainyard</span>
          </Link>
          <nav className={css.nav} aria-label="Main">
            <Link to="/dashboard/blueprints">
              <Database size={18} aria-hidden="true" />
              Blueprints
            </Link>
            <Link to="/dashboard/models">
              <Package size={18} aria-hidden="true" />
              Models
            </Link>
          </nav>
          <UserMenu />
        </div>
      </header>
      <main id="main" ref={main} className={css.main} tabIndex={-1}>
        <Outlet />
      </main>
      <Connection />
    </>
  )
}

const THEMES: { name: Theme; label: string; icon: typeof Sun }[] = [
  { name: "system", label: "As the system", icon: Monitor },
  { name: "light", label: "Light", icon: Sun },
  { name: "dark", label: "Dark", icon: Moon },
]

function UserMenu() {
  const session = useSession()
  const [theme, choose] = useState(getTheme)
  return (
    // A modal one would hide from who hears the page what can still be focused.
    <Menu.Root modal={false}>
      <Menu.Trigger asChild>
        <Button look="quiet" icon aria-label="Account and theme">
          <CircleUser size={22} aria-hidden="true" />
        </Button>
      </Menu.Trigger>
      <Menu.Portal>
        <Menu.Content className={menu.menu} align="end" sideOffset={6}>
          <Menu.Label className={css.who}>Signed in as {session?.user.email}</Menu.Label>
          <Menu.RadioGroup
            value={theme}
            onValueChange={(name) => {
              setTheme(name as Theme)
              choose(name as Theme)
            }}
          >
            {THEMES.map(({ name, label, icon: Icon }) => (
              <Menu.RadioItem key={name} value={name} className={menu.item}>
                <Icon size={18} aria-hidden="true" />
                {label}
                <Menu.ItemIndicator asChild>
                  <Check size={16} aria-hidden="true" />
                </Menu.ItemIndicator>
              </Menu.RadioItem>
            ))}
          </Menu.RadioGroup>
          <Menu.Separator asChild>
            <hr />
          </Menu.Separator>
          <Menu.Item className={menu.item} onSelect={() => signOut()}>
            <LogOut size={18} aria-hidden="true" />
            Sign out
          </Menu.Item>
        </Menu.Content>
      </Menu.Portal>
    </Menu.Root>
  )
}
