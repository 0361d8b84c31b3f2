import { type ReactNode, useEffect, useRef, useState } from "react"

const NEAR = "600px"

/** Shows what is costly to load once it is nearly seen, and `meanwhile` in its place. */
export function WhenNear({ meanwhile, children }: { meanwhile: ReactNode; children: ReactNode }) {
  const place = useRef<HTMLDivElement>(null)
  const [near, setNear] = useState(false)
  useEffect(() => {
    if (near || !place.current) return
    const watching = new IntersectionObserver(([entry]) => entry?.isIntersecting && setNear(true), {
      rootMargin: NEAR,
    })
    watching.observe(place.current)
    return () => watching.disconnect()
  }, [near])
  return near ? children : <div ref={place}>{meanwhile}</div>
}
