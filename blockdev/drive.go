package blockdev

import "context"

// Drive is a place where volumes live: a directory of image files, or a disk,
// file or piece of memory that holds one image. Images are named; a Drive with
// room for a single image ignores nothing: it holds at most one name.
// All methods may be called concurrently.
type Drive interface {
	// URI is the canonical address that OpenDrive takes.
	URI() string
	// Info tells capacity and shape as they are now.
	Info(ctx context.Context) (DriveInfo, error)
	// Images lists the names of the images on the drive, sorted. A Single
	// drive has none while its first and last MiB are all zero, else "data".
	Images(ctx context.Context) ([]string, error)
	// Create makes a zero-filled image of size bytes and opens it. The image
	// and its name are durable when it returns. ErrExist, ErrNoSpace.
	// On a Single drive that has Images it fails with ErrExist; else the image
	// is the whole drive, so it may be larger than size, and of its contents
	// only the first and the last MiB are known to be zero.
	Create(ctx context.Context, name string, size int64) (Device, error)
	// Open opens an image, exclusively unless readOnly: a second opener in
	// this or another process gets ErrBusy. ErrNotExist. A Single drive opens
	// whether it holds anything or not.
	Open(ctx context.Context, name string, readOnly bool) (Device, error)
	// Remove deletes an image and gives its space back. Removing what is not
	// there is not an error. An open image is ErrBusy. On a Single drive the
	// first and the last MiB are zeroed and all of it is trimmed.
	Remove(ctx context.Context, name string) error
	// Path names the file or device behind an image for messages, or "".
	Path(name string) string
	// Close releases the drive. Open devices stay usable.
	Close() error
}

// DriveInfo is the shape of a Drive.
type DriveInfo struct {
	Kind     string // "dir", "file", "disk", "mem"
	Capacity int64  // bytes the drive can hold in all
	Free     int64  // bytes still to be had
	Single   bool   // one image only, as large as the drive
	Align    int    // Info.Align of its devices
	Sector   int    // 4096 where the medium does it well, else 512
	Serial   string // of the hardware, or "" where there is none
	Model    string
	ReadOnly bool
}
