"""What other programs get: JUnit XML, SARIF, webhooks."""
