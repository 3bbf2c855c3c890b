package keymgr

// WithPoint has point called before and after everything that a rekey asks of a
// key server; its error stands for the end of the process.
func WithPoint(o Options, point func(string) error) Options {
	o.point = point
	return o
}
