/** The beginning of a page: the way back, what it is of, what can be done with it. */

import { ArrowLeft } from "lucide-react"
import type { ReactNode } from "react"
import css from "./page-head.module.css"

interface PageHeadProps {
  /** A link to where this page hangs. */
  back?: ReactNode
  title: string
  about?: ReactNode
  actions?: ReactNode
}

export function PageHead({ back, title, about, actions }: PageHeadProps) {
  return (
    <header className={css.head}>
      <div className={css.what}>
        {back && (
          <p className={css.back}>
            <ArrowLeft size={16} aria-hidden="true" />
            {back}
          </p>
        )}
        <h1>{title}</h1>
        {about && <div className={css.about}>{about}</div>}
      </div>
      {actions && <div className={css.actions}>{actions}</div>}
    </header>
  )
}
