"""The explorer's page, its style and script: filled by `pages.templates`."""
