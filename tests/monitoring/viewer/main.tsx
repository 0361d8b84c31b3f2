// Draws a dashboard's panels, as its JSON says, from what a real Prometheus answered to their queries
// (tests/monitoring/pictures.py hands both over). Values, units, colours, legends and plots are made by Grafana's own
// packages; what is missing is the frame that its server puts around them.
import {
  createTheme,
  dateTime,
  FieldType,
  getDisplayProcessor,
  getDisplayValueAlignmentFactors,
  getFieldDisplayValues,
  getMinMaxAndDelta,
  standardTransformersRegistry,
  ThemeContext,
  toDataFrame,
  type DataFrame,
  type FieldDisplay,
  type NumericRange,
} from '@grafana/data'
import { BarGauge, BigValue, GlobalStyles, PanelChrome, TimeSeries, VizRepeater } from '@grafana/ui'
import { createRoot } from 'react-dom/client'

type Labels = Record<string, string>
type Series = { metric: Labels; values: [number, string][] }
type Answer = { legend: string; series: Series[] }
type Panel = any // as in the JSON of a dashboard

declare const HANDED: { dashboard: any; answers: Record<string, Answer[]>; from: number; to: number; width: number }

standardTransformersRegistry.setInit(() => [])
const theme = createTheme({ colors: { mode: 'light' } })
const [GAP, CELL] = [8, 30] // Grafana's, in pixels
const range = {
  from: dateTime(HANDED.from * 1000),
  to: dateTime(HANDED.to * 1000),
  raw: { from: dateTime(HANDED.from * 1000), to: dateTime(HANDED.to * 1000) },
}

/** One frame a series, named by the legend, laid out and coloured by the panel's defaults. */
function frames(panel: Panel): DataFrame[] {
  const { defaults } = panel.fieldConfig
  let place = 0
  return (HANDED.answers[panel.id] ?? []).flatMap((answer) =>
    answer.series.map((series) => {
      const name = answer.legend.replace(/{{\s*(\w+)\s*}}/g, (_, label) => series.metric[label] ?? '')
      const frame = toDataFrame({
        name,
        fields: [
          { name: 'Time', type: FieldType.time, values: series.values.map(([at]) => at * 1000), config: {} },
          {
            name: 'Value',
            type: FieldType.number,
            values: series.values.map(([, value]) => (value === 'NaN' ? null : Number(value))),
            labels: series.metric,
            config: { ...defaults, displayNameFromDS: name },
          },
        ],
      })
      for (const field of frame.fields) {
        const ends = field.type === FieldType.number ? getMinMaxAndDelta(field) : undefined
        field.state = { seriesIndex: ends ? place : 0, range: ends as NumericRange | undefined }
        field.display = getDisplayProcessor({ field, theme, timeZone: 'utc' })
      }
      place += 1
      return frame
    }),
  )
}

function values(panel: Panel, data: DataFrame[]): FieldDisplay[] {
  return getFieldDisplayValues({
    fieldConfig: panel.fieldConfig,
    reduceOptions: panel.options.reduceOptions,
    replaceVariables: (text) => text,
    theme,
    data,
    sparkline: panel.options.graphMode === 'area',
    timeZone: 'utc',
  })
}

function Drawn({ panel, width, height }: { panel: Panel; width: number; height: number }) {
  const data = frames(panel)
  const { options } = panel
  if (data.every((frame) => frame.length === 0)) {
    return <div data-empty={panel.title}>No data</div>
  }
  if (panel.type === 'timeseries') {
    return (
      <TimeSeries
        frames={data}
        timeRange={range}
        timeZone="utc"
        width={width}
        height={height}
        legend={options.legend}
        options={options}
      />
    )
  }
  const shown = values(panel, data)
  const repeated = {
    getValues: () => shown,
    source: data,
    renderCounter: 0,
    width,
    height,
    orientation: options.orientation,
  }
  if (panel.type === 'stat') {
    return (
      <VizRepeater
        {...repeated}
        renderValue={(one) => <BigValue {...options} {...one} value={one.value.display} sparkline={one.value.sparkline} theme={theme} />}
      />
    )
  }
  if (panel.type !== 'bargauge') {
    throw new Error(`nothing here draws a ${panel.type}`)
  }
  const max = Math.max(...shown.map((one) => one.display.numeric))
  return (
    <VizRepeater
      {...repeated}
      minVizHeight={options.minVizHeight}
      maxVizHeight={options.maxVizHeight}
      itemSpacing={4}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={(one) => (
        <BarGauge
          {...options}
          {...one}
          value={one.value.display}
          field={{ ...one.value.field, min: 0, max }}
          display={one.value.view?.getFieldDisplayProcessor(one.value.colIndex as number)}
          valueDisplayMode={options.valueMode}
          isOverflow={false}
          theme={theme}
        />
      )}
    />
  )
}

function Placed({ panel }: { panel: Panel }) {
  const column = (HANDED.width - GAP) / 24
  const { x, y, w, h } = panel.gridPos
  const box = { width: w * column - GAP, height: h * (CELL + GAP) - GAP }
  const at = { position: 'absolute', left: GAP + x * column, top: GAP + y * (CELL + GAP), ...box } as const
  if (panel.type === 'row') {
    return <h2 style={{ ...at, margin: 0, paddingTop: 6, ...theme.typography.h5 }}>{panel.title}</h2>
  }
  return (
    <div style={at}>
      <PanelChrome title={panel.title} {...box}>
        {(width, height) => <Drawn panel={panel} width={width} height={height} />}
      </PanelChrome>
    </div>
  )
}

function Dashboard() {
  const { panels } = HANDED.dashboard
  const rows = Math.max(...panels.map((panel: Panel) => panel.gridPos.y + panel.gridPos.h))
  const box = { position: 'relative', width: HANDED.width, height: rows * (CELL + GAP) + GAP } as const
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <main style={{ ...box, background: theme.colors.background.canvas }}>
        {panels.map((panel: Panel) => (
          <Placed key={panel.id} panel={panel} />
        ))}
      </main>
    </ThemeContext.Provider>
  )
}

createRoot(document.getElementById('root') as HTMLElement).render(<Dashboard />)
