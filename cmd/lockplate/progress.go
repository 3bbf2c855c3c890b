package main

import (
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progressBar shows the percentage of long work; the zero value shows nothing.
type progressBar struct {
	all *mpb.Progress
	bar *mpb.Bar
}

// progress starts a bar if standard error is a terminal and the output is for
// people.
func (a *app) progress(what string) progressBar {
	if a.opt.json || !a.term.Live() {
		return progressBar{}
	}
	all := mpb.New(mpb.WithOutput(a.err), mpb.WithWidth(40))
	bar := all.AddBar(100, mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(what+" ")),
		mpb.AppendDecorators(decor.Percentage()))
	return progressBar{all, bar}
}

// set moves the bar.
func (p progressBar) set(percent int) {
	if p.bar != nil {
		p.bar.SetCurrent(int64(percent))
	}
}

// done removes the bar.
func (p progressBar) done() {
	if p.bar != nil {
		p.bar.Abort(true)
		p.all.Wait()
	}
}
