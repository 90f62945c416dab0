package main

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// chart is one small picture: a number over an axis with a logarithmic scale.
type chart struct {
	title, unit, axis string
	powers            bool // of ten have equal distances: the numbers differ much
	series            []series
}

type series struct {
	name   string
	points []point // in the order of x
}

type point struct {
	x float64 // above 0
	y spread
}

// Sizes in the picture.
const (
	pictureWidth = 900
	columns      = 2
	legendHeight = 44
	chartWidth   = pictureWidth / columns
	chartHeight  = 250
	plotLeft     = 62 // from the left side of a chart
	plotRight    = 24
	plotTop      = 40
	plotBottom   = 48
	plotWidth    = chartWidth - plotLeft - plotRight
	plotHeight   = chartHeight - plotTop - plotBottom
)

// The picture has a background of its own, so that it can be read on a page whose colours are not those that the reader
// prefers elsewhere. Series differ in their shape too.
const pictureStyle = `
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .background { fill: #ffffff } .title { font-weight: 600; font-size: 13px } .quiet { fill: #59636e }
  .grid { stroke: #d1d9e0 } .axis { stroke: #59636e }
  .line { fill: none; stroke-width: 2 } .thin { stroke-width: 1 }
  .s0 { stroke: #0969da } .s0.mark { fill: #0969da } .s1 { stroke: #bc4c00 } .s1.mark { fill: #ffffff; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .background { fill: #0d1117 } .quiet { fill: #9198a1 }
    .grid { stroke: #3d444d } .axis { stroke: #9198a1 }
    .s0 { stroke: #4493f8 } .s0.mark { fill: #4493f8 } .s1 { stroke: #db8b3f } .s1.mark { fill: #0d1117 }
  }
`

// drawing writes SVG.
type drawing struct{ strings.Builder }

func (d *drawing) addf(format string, arguments ...any) {
	fmt.Fprintf(&d.Builder, format+"\n", arguments...)
}

func (d *drawing) text(x, y float64, class, anchor, text string) {
	d.addf(`<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>`, x, y, class, anchor, escape(text))
}

func escape(text string) string {
	var escaped strings.Builder
	_ = xml.EscapeText(&escaped, []byte(text)) // into memory
	return escaped.String()
}

// draw makes an SVG picture of charts, whose series are the same ones in the same order.
func draw(title, description string, charts []chart) string {
	var d drawing
	height := legendHeight + (len(charts)+columns-1)/columns*chartHeight
	d.addf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-labelledby="title description">`,
		pictureWidth, height, pictureWidth, height)
	d.addf(`<title id="title">%s</title>`, escape(title))
	d.addf(`<desc id="description">%s</desc>`, escape(description))
	d.addf("<style>%s</style>", pictureStyle)
	d.addf(`<rect class="background" width="%d" height="%d"/>`, pictureWidth, height)
	if len(charts) > 0 {
		d.legend(charts[0].series)
	}
	for i := range charts {
		d.addf(`<g transform="translate(%d %d)">`, i%columns*chartWidth, legendHeight+i/columns*chartHeight)
		d.chart(&charts[i])
		d.addf("</g>")
	}
	d.addf("</svg>")
	return d.String()
}

func (d *drawing) legend(all []series) {
	const width = 170
	for i, s := range all {
		x := float64(plotLeft + i*width)
		d.addf(`<path class="line s%d" d="M%.1f 24h28"/>`, i, x)
		d.mark(i, x+14, 24, s.name)
		d.text(x+36, 28, "label", "start", s.name)
	}
}

// mark draws a point, which tells its value to a mouse.
func (d *drawing) mark(series int, x, y float64, told string) {
	if series == 0 {
		d.addf(`<circle class="mark s0" cx="%.1f" cy="%.1f" r="4"><title>%s</title></circle>`, x, y, escape(told))
		return
	}
	d.addf(`<rect class="mark s%d" x="%.1f" y="%.1f" width="7" height="7"><title>%s</title></rect>`, series, x-3.5, y-3.5, escape(told))
}

func (d *drawing) chart(c *chart) {
	across, up := c.across(), c.up()
	x := func(v float64) float64 { return plotLeft + across.place(v)*plotWidth }
	y := func(v float64) float64 { return plotTop + (1-up.place(v))*plotHeight }
	d.text(plotLeft, 20, "title", "start", c.title+" ("+c.unit+")")
	for _, v := range up.ticks {
		d.addf(`<path class="grid" d="M%d %.1fh%d"/>`, plotLeft, y(v), plotWidth)
		d.text(plotLeft-8, y(v)+4, "quiet", "end", up.label(v))
	}
	for _, v := range across.ticks {
		d.addf(`<path class="axis" d="M%.1f %dv5"/>`, x(v), plotTop+plotHeight)
		d.text(x(v), plotTop+plotHeight+19, "quiet", "middle", across.label(v))
	}
	d.addf(`<path class="axis" d="M%d %dh%d"/>`, plotLeft, plotTop+plotHeight, plotWidth)
	d.text(plotLeft+plotWidth/2, plotTop+plotHeight+37, "quiet", "middle", axisNames[c.axis])
	for i, s := range c.series {
		var line strings.Builder
		for n, p := range s.points {
			fmt.Fprintf(&line, "%s%.1f %.1f", map[bool]string{true: "M", false: "L"}[n == 0], x(p.x), y(p.y.Median))
		}
		if line.Len() > 0 {
			d.addf(`<path class="line s%d" d="%s"/>`, i, line.String())
		}
		for _, p := range s.points {
			d.addf(`<path class="line thin s%d" d="M%.1f %.1fV%.1f"/>`, i, x(p.x), y(p.y.Min), y(p.y.Max))
			d.mark(i, x(p.x), y(p.y.Median), fmt.Sprintf("%s, %s: %s", s.name, across.label(p.x), spreadText(&p.y, c.unit)))
		}
	}
}

var axisNames = map[string]string{
	"readers": "readers", "topics": "topics", "publishers": "publishers, each with a stream", "bytes": "bytes of an event's data",
}
