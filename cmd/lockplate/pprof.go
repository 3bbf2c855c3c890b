package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"strconv"
)

// newPprofServer serves the profiles of the run time under /debug/pprof/ and
// nothing else. Profiles hold names of functions, sizes and times, and no
// contents of memory. The one that would hold some is refused: a goroutine
// dump with debug=2 prints the words that functions were called with.
func newPprofServer(log *slog.Logger) *http.Server {
	// A mux of its own, because the package registers itself on the default
	// one, which nothing here serves.
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", func(w http.ResponseWriter, r *http.Request) {
		if n, err := strconv.Atoi(r.FormValue("debug")); err == nil && n > 1 {
			http.Error(w, "debug=2 prints arguments of functions, which could be keys: use debug=1", http.StatusForbidden)
			return
		}
		pprof.Index(w, r)
	})
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return &http.Server{
		Handler: mux, ReadHeaderTimeout: metricsHeaderTime, ReadTimeout: metricsHeaderTime,
		WriteTimeout: metricsWriteTime, MaxHeaderBytes: metricsHeader,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// checkPprof refuses profiles that strangers could have made: there is neither
// login nor TLS for them, and making one takes processor time.
func checkPprof(a address) error {
	if a.local() {
		return nil
	}
	return hint(usage(fmt.Errorf("profiles on %s would be open to the network", a)),
		"use tcp:127.0.0.1:PORT or unix:PATH, and an SSH tunnel from elsewhere")
}
