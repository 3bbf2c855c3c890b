package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

// supervisor tells systemd how the service is doing; without systemd it does
// nothing. See sd_notify(3).
type supervisor struct{ log *slog.Logger }

func (s supervisor) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		s.log.Warn("systemd not notified", "err", err)
	}
}

func (s supervisor) ready(status string) {
	s.notify(fmt.Sprintf("%s\nSTATUS=%s", sd.SdNotifyReady, status))
}

func (s supervisor) stopping() { s.notify(sd.SdNotifyStopping + "\nSTATUS=draining") }

func (s supervisor) reloading() {
	s.notify(sd.SdNotifyReloading + "\n" + sd.SdNotifyMonotonicUsec())
}

// watch pets the watchdog, if the unit has one, while alive returns; it ends
// with ctx.
func (s supervisor) watch(ctx context.Context, alive func()) {
	every, err := sd.SdWatchdogEnabled(false)
	if err != nil || every == 0 {
		return
	}
	t := time.NewTicker(every / 2)
	defer t.Stop()
	for {
		alive()
		s.notify(sd.SdNotifyWatchdog)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}
