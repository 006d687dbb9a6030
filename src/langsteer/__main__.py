from langsteer.cli import main

main()
