import type { ComponentProps, ReactNode } from "react"
import css from "./button.module.css"

interface Look {
  look?: "primary" | "gradient" | "outline" | "quiet" | "danger"
  small?: boolean
  /** Nothing but an icon: `aria-label` says what it does. */
  icon?: boolean
}

type ButtonProps = ComponentProps<"button"> & Look & { busy?: boolean; children: ReactNode }

export function buttonClass({ look = "outline", small, icon }: Look): string {
  return [css.button, css[look], small && css.small, icon && css.icon].filter(Boolean).join(" ")
}

/** A busy or disabled one can be focused, and does nothing: nobody's place on the page is lost for it. */
export function Button({
  look,
  small,
  icon,
  busy,
  disabled,
  children,
  onClick,
  className,
  ...rest
}: ButtonProps) {
  const idle = busy || disabled
  return (
    <button
      type="button"
      {...rest}
      className={[
        buttonClass({ ...(look && { look }), ...(small && { small }), ...(icon && { icon }) }),
        className,
      ]
        .filter(Boolean)
        .join(" ")}
      aria-disabled={idle || undefined}
      onClick={idle ? (event) => event.preventDefault() : onClick}
    >
      {busy && <span className={css.spinner} aria-hidden="true" />}
      {children}
    </button>
  )
}
