package runbook

import _ "embed"

// TourTitle is the title of the Tour.
const TourTitle = "A tour of Runbook"

// Tour is the Markdown of the runbook that a new account finds. It shows what
// runbooks can do, needs no network, and is about a minute long.
//
//go:embed tour.md
var Tour string
