"""What it takes to run Couplet elsewhere: images, the chart, dashboards, alerts. Nothing else imports it."""
