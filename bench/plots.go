package main

import (
	"errors"
	"fmt"
	"image/color"
	"math"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"

	// The formats in which plots can be written.
	_ "gonum.org/v1/plot/vg/vgimg"
	_ "gonum.org/v1/plot/vg/vgsvg"
)

const plotWidth, plotHeight = 16 * vg.Centimeter, 10 * vg.Centimeter

// plots writes the plots of what was measured to a directory, as SVG and PNG.
func (r *results) plots(dir string) error {
	var errs []error
	for name, draw := range map[string]func() (*plot.Plot, error){
		"memory": r.memoryPlot, "bootstrap": r.bootstrapPlot, "lookup": r.lookupPlot,
	} {
		p, err := draw()
		if err != nil || p == nil {
			errs = append(errs, err)
			continue
		}
		for _, format := range []string{"svg", "png"} {
			errs = append(errs, p.Save(plotWidth, plotHeight, filepath.Join(dir, name+"."+format)))
		}
	}
	return errors.Join(errs...)
}

func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = color.White
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.Padding = vg.Points(6)
	p.Legend.Top, p.Legend.Left = true, true
	p.Add(plotter.NewGrid())
	return p
}

// memoryPlot is the peak of the memory against the size of the table.
func (r *results) memoryPlot() (*plot.Plot, error) {
	lines := map[string]plotter.XYs{}
	var names []string
	for _, t := range r.Samples {
		if t.Work != "memory" || t.Job.Rows == 0 || t.Data != (rowsTopic{Rows: t.Job.Rows}).String() {
			continue
		}
		rss, ok := r.median("memory", t.Data, t.Name, "rss_mb")
		if at := float64(t.Job.Rows); ok && !slices.ContainsFunc(lines[t.Name], func(xy plotter.XY) bool { return xy.X == at }) {
			if lines[t.Name] == nil {
				names = append(names, t.Name)
			}
			lines[t.Name] = append(lines[t.Name], plotter.XY{X: at, Y: max(1, rss)})
		}
	}
	if len(names) == 0 {
		return nil, nil //nolint:nilnil // nothing to draw is no error
	}
	p := newPlot("Peak memory against table size", "rows of about 175 B", "peak RSS in MB")
	var ticks plot.ConstantTicks
	for _, xy := range lines[names[0]] {
		ticks = append(ticks, plot.Tick{Value: xy.X, Label: count(int(xy.X))})
	}
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, ticks
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Y.Min, p.Y.Max = 10, 10_000
	for i, name := range names {
		line, points, err := plotter.NewLinePoints(lines[name])
		if err != nil {
			return nil, err
		}
		line.Color, points.Color = plotutil.Color(i), plotutil.Color(i)
		line.Width, points.Shape = vg.Points(1.5), plotutil.Shape(i)
		p.Add(line, points)
		p.Legend.Add(name, line, points)
	}
	return p, nil
}

// bootstrapPlot is the rate of a cold bootstrap, for each who was measured.
func (r *results) bootstrapPlot() (*plot.Plot, error) {
	data := r.dataOf("bootstrap")
	if len(data) == 0 {
		return nil, nil //nolint:nilnil // nothing to draw is no error
	}
	p := newPlot("Cold bootstrap, "+data[0], "", "rows a second, in thousands")
	var names []string
	var values plotter.Values
	for _, e := range r.entries("bootstrap") {
		if v, ok := r.median("bootstrap", e.data, e.name, "rows_per_s"); ok && e.data == data[0] {
			names, values = append(names, e.name), append(values, v/1000)
		}
	}
	bars, err := plotter.NewBarChart(values, vg.Points(24))
	if err != nil {
		return nil, err
	}
	bars.Color, bars.LineStyle.Width = plotutil.Color(2), 0
	p.Add(bars)
	p.NominalX(names...)
	p.Y.Min, p.X.Min, p.X.Max = 0, -0.5, float64(len(names))-0.5
	p.X.Tick.Label.Rotation, p.X.Tick.Label.XAlign, p.X.Tick.Label.YAlign = math.Pi/8, -1, -0.5
	return p, nil
}

// lookupKinds are the kinds of lookups that the plot shows.
var lookupKinds = []string{"hot", "zipf", "uniform", "absent", "batch"}

// lookupPlot is the time of a lookup on one goroutine, by kind. Its bars are
// logarithmic, from 10 ns.
func (r *results) lookupPlot() (*plot.Plot, error) {
	entries := r.entries("lookup")
	if len(entries) == 0 {
		return nil, nil //nolint:nilnil // nothing to draw is no error
	}
	p := newPlot("One lookup on one goroutine", "", "logarithmic")
	width := vg.Points(60 / float64(len(entries)))
	for i, e := range entries {
		values := make(plotter.Values, len(lookupKinds))
		for k, kind := range lookupKinds {
			if v, ok := r.median("lookup", e.data, e.name, lookupFigure(kind, 1, false)); ok {
				values[k] = max(0, math.Log10(v/10))
			}
		}
		bars, err := plotter.NewBarChart(values, width)
		if err != nil {
			return nil, err
		}
		bars.Color, bars.LineStyle.Width = barColor(i), 0
		bars.Offset = width * vg.Length(float64(i)-float64(len(entries)-1)/2)
		p.Add(bars)
		name := e.name
		if e.values != "" {
			name += " (" + e.values + ")"
		}
		p.Legend.Add(name, bars)
	}
	var ticks plot.ConstantTicks
	for i := range 6 {
		ticks = append(ticks, plot.Tick{Value: float64(i), Label: nanosecondLabel(math.Pow10(i + 1))})
	}
	p.Y.Tick.Marker, p.Y.Min, p.Y.Max = ticks, 0, 6
	p.Legend.TextStyle.Font.Size = vg.Points(7)
	p.NominalX(lookupKinds...)
	p.X.Min, p.X.Max = -0.5, float64(len(lookupKinds))-0.5
	return p, nil
}

// barColor has one color more than plotutil, which begins anew after seven.
func barColor(i int) color.Color {
	n := len(plotutil.DefaultColors)
	if i%(n+1) == n {
		return color.Gray{Y: 90}
	}
	return plotutil.Color(i % (n + 1))
}

func nanosecondLabel(ns float64) string {
	switch {
	case ns >= 1e6:
		return fmt.Sprintf("%g ms", ns/1e6)
	case ns >= 1e3:
		return fmt.Sprintf("%g us", ns/1e3)
	}
	return fmt.Sprintf("%g ns", ns)
}
